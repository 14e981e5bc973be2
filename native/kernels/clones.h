#pragma once

// The loops are plain: a function is compiled once for each of these machines, and which one runs is decided by the processor's features
// when the addon is loaded. (Names such as arch=haswell would ask for that very processor of that very maker.)
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define KUEA_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define KUEA_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define KUEA_CLONES
#endif

// For what such functions use: inlined into every clone, and so compiled for its machine.
#define KUEA_INLINE __attribute__((always_inline)) inline
