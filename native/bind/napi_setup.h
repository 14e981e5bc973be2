#pragma once

// The only place that includes napi.h, so that every file of bind/ sees the same switches (see CMakeLists.txt for the version and the
// exception mode: node-addon-api turns every C++ exception that leaves a callback into a JavaScript one).
#include <napi.h>
