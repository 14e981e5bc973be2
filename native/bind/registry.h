#pragma once

#include "bind/napi_setup.h"

// One function a file of bind/: each adds its names to the addon's exports. The names are typed in lib/native/addon.ts.
namespace kuea {

void register_info(Napi::Env env, Napi::Object exports);
void register_resample(Napi::Env env, Napi::Object exports);
void register_kernel_loss(Napi::Env env, Napi::Object exports);
void register_encoder(Napi::Env env, Napi::Object exports);
void register_text_encoder(Napi::Env env, Napi::Object exports);
void register_process_group(Napi::Env env, Napi::Object exports);
void register_align_trainer(Napi::Env env, Napi::Object exports);
void register_lora_trainer(Napi::Env env, Napi::Object exports);
void register_llava(Napi::Env env, Napi::Object exports);
void register_eval(Napi::Env env, Napi::Object exports);

}  // namespace kuea
