#include "bind/environment.h"
#include "bind/registry.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new kuea::Environment(env));
  kuea::register_info(env, exports);
  kuea::register_resample(env, exports);
  kuea::register_kernel_loss(env, exports);
  kuea::register_encoder(env, exports);
  kuea::register_text_encoder(env, exports);
  kuea::register_process_group(env, exports);
  kuea::register_align_trainer(env, exports);
  kuea::register_lora_trainer(env, exports);
  kuea::register_llava(env, exports);
  kuea::register_eval(env, exports);
  return exports;
}

NODE_API_MODULE(kuea, init)
