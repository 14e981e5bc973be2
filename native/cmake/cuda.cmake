# The CUDA flavour: KUEA_CUDA is CUDA's major version, KUEA_CUDA_HOME the toolkit that has nvcc. CMake's own CUDA language knows C++20 only
# for compilers older than 13 in the versions that distributions ship, and looks for libraries that the wheels do not have; nvcc needs
# neither.

# NVIDIA's libraries: a folder nvidia/ beside the libtorch of a wheel, else in libtorch's own lib/ or in the toolkit.
get_filename_component(NVIDIA ${KUEA_LIBTORCH}/../nvidia ABSOLUTE)
foreach(pattern ${NVIDIA}/cu${KUEA_CUDA}/lib/libcudart.so.* ${KUEA_LIBTORCH}/lib/libcudart*.so*
                ${KUEA_CUDA_HOME}/lib64/libcudart.so.${KUEA_CUDA})
  if(NOT CUDART)
    file(GLOB CUDART ${pattern})
  endif()
endforeach()
file(GLOB NCCL ${NVIDIA}/nccl/lib/libnccl.so.* ${KUEA_LIBTORCH}/lib/libnccl*.so*)
if(NOT CUDART)
  message(FATAL_ERROR "no libcudart.so.${KUEA_CUDA} beside libtorch in ${KUEA_LIBTORCH}, nor in ${KUEA_CUDA_HOME}/lib64")
endif()
list(GET CUDART 0 CUDART)
set(CUDA_LIBRARIES ${CUDART})
set(CUDA_INCLUDES ${KUEA_CUDA_HOME}/include)
if(EXISTS ${NVIDIA}/cu${KUEA_CUDA}/include)
  # cuBLAS, cuSPARSE, cuSOLVER: libtorch's headers name them, and a toolkit may be installed without. The wheels in turn lack the compiler's
  # own.
  list(APPEND CUDA_INCLUDES ${NVIDIA}/cu${KUEA_CUDA}/include)
endif()
if(NCCL)
  list(GET NCCL 0 NCCL)
  list(APPEND CUDA_LIBRARIES ${NCCL})
  list(APPEND CUDA_INCLUDES ${NVIDIA}/nccl/include)
endif()

set(NVCC_FLAGS -std=c++20 -O3 -I${NATIVE} -Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra)
foreach(arch 80 86 89 90)
  list(APPEND NVCC_FLAGS -gencode=arch=compute_${arch},code=sm_${arch})
endforeach()
# Later architectures compile this when they load it.
list(APPEND NVCC_FLAGS -gencode=arch=compute_90,code=compute_90)

file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS ${NATIVE}/kernels/alignment/*.cu)
foreach(source ${CUDA_SOURCES})
  get_filename_component(name ${source} NAME)
  set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
    COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${KUEA_CUDA_HOME}/bin/nvcc ${NVCC_FLAGS} -MD -MF ${object}.d -c ${source} -o ${object}
    DEPENDS ${source} ${KUEA_CUDA_HOME}/bin/nvcc
    DEPFILE ${object}.d
    COMMENT "Building CUDA object ${name}.o"
    VERBATIM)
  list(APPEND CUDA_OBJECTS ${object})
endforeach()
set_source_files_properties(${CUDA_OBJECTS} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
