#include "bind/environment.h"

#include <atomic>
#include <future>
#include <new>
#include <string>

#include <c10/util/Exception.h>

#include "runtime/error.h"

namespace kuea {

struct Environment::Job {
  Napi::Promise::Deferred deferred;
  std::function<void()> work;
  std::function<Napi::Value(Napi::Env)> finish;
  std::exception_ptr error;
};

namespace {
std::atomic<uint64_t> next_id{1};
}

// Three rules of thread-safe functions, all kept here: they are created referenced and would keep the loop alive (unref at once, ref while
// a promise is pending); Node destroys them before finalizers run, so they are never released in one; and a call that arrives
// after the environment has gone is refused, which must not leak the job.
Environment::Environment(Napi::Env env) : id_(next_id.fetch_add(1)) {
  channel_ = Channel::New(env, "kuea", 0, 1, this);
  channel_.Unref(env);
  env.AddCleanupHook([this] { shut_down(); });
}

Napi::Promise Environment::submit(Napi::Env env, std::function<void()> work, std::function<Napi::Value(Napi::Env)> finish) {
  auto* job = new Job{Napi::Promise::Deferred::New(env), std::move(work), std::move(finish), nullptr};
  const auto promise = job->deferred.Promise();
  if (pending_++ == 0) channel_.Ref(env);
  DeviceThread::instance().post(id_, [this, job] {
    try {
      job->work();
    } catch (...) {
      job->error = std::current_exception();
    }
    job->work = nullptr;
    if (channel_.BlockingCall(job) != napi_ok) delete job;
  });
  return promise;
}

void Environment::settle(Napi::Env env, Napi::Function, Environment* self, Job* raw) {
  std::unique_ptr<Job> job(raw);
  if (static_cast<napi_env>(env) == nullptr) return;
  if (--self->pending_ == 0) self->channel_.Unref(env);
  Napi::HandleScope scope(env);
  if (!job->error) {
    try {
      job->deferred.Resolve(job->finish(env));
      return;
    } catch (...) {
      job->error = std::current_exception();
    }
  }
  job->deferred.Reject(self->to_error(env, job->error));
}

Napi::Value Environment::to_error(Napi::Env env, std::exception_ptr error) {
  std::string code = "internal";
  std::string message = "an unknown native error";
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    code = e.code();
    message = e.what();
  } catch (const Napi::Error& e) {
    return e.Value();
  } catch (const c10::OutOfMemoryError&) {
    code = "out_of_memory";
    message = "the GPU ran out of memory: use a smaller batch size, --micro-batch or activation checkpointing";
  } catch (const c10::Error& e) {
    code = "libtorch";
    // what() carries pages of C++ backtrace.
    message = e.what_without_backtrace();
  } catch (const std::bad_alloc&) {
    code = "out_of_memory";
    message = "the machine ran out of memory: use a smaller batch size, --micro-batch or activation checkpointing";
  } catch (const std::exception& e) {
    message = e.what();
  } catch (...) {
  }
  if (error_class_.IsEmpty()) return Napi::Error::New(env, code + ": " + message).Value();
  return error_class_.New({Napi::String::New(env, code), Napi::String::New(env, message)});
}

void Environment::shut_down() {
  DeviceThread::instance().cancel(id_);
  // Tensors are freed before static destructors run, on the thread that made them.
  std::promise<void> done;
  auto resources = std::move(resources_);
  DeviceThread::instance().post(id_, [&] {
    for (const auto& resource : resources) resource->release();
    resources.clear();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace kuea
