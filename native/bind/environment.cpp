#include "bind/environment.h"

#include <atomic>
#include <future>
#include <new>
#include <string>

#include <c10/util/Exception.h>

#include "bind/deferred.h"
#include "runtime/error.h"

namespace kuea {

struct Environment::Job {
  Deferred deferred;
  std::function<void()> work;
  std::function<Napi::Value(Napi::Env)> finish;
  std::shared_ptr<void> value;
  std::exception_ptr error;

  ~Job() {
    // Of a job that was never settled: a model that was just opened, say, whose tensors go where they were made.
    if (value) DeviceThread::instance().post(0, [dropped = std::move(value)] {});
  }
};

namespace {

std::atomic<uint64_t> next_id{1};

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

// Three rules of thread-safe functions, all kept here: they are created referenced and would keep the loop alive (unref at once, ref while
// a promise is pending); Node destroys them before finalizers run, so they are never released in one; and a call that arrives
// after the environment has gone is refused.
Environment::Environment(Napi::Env env) : id_(next_id.fetch_add(1)) {
  channel_ = Channel::New(env, "kuea", 0, 1, this);
  channel_.Unref(env);
  env.AddCleanupHook([this] { shut_down(); });
}

Napi::Promise Environment::submit(Napi::Env env, std::function<void()> work, std::function<Napi::Value(Napi::Env)> finish,
                                  std::shared_ptr<void> value) {
  std::shared_ptr<Job> job(new Job{Deferred(env), std::move(work), std::move(finish), std::move(value), nullptr});
  const auto promise = job->deferred.promise(env);
  if (pending_++ == 0) channel_.Ref(env);
  // The job goes from hand to hand, so that it is freed on the JavaScript thread: dropped from the queue, settled, or refused.
  DeviceThread::instance().post(id_, [this, job = std::move(job)]() mutable {
    try {
      job->work();
    } catch (...) {
      job->error = std::current_exception();
    }
    job->work = nullptr;
    auto* held = new std::shared_ptr<Job>(std::move(job));
    if (channel_.BlockingCall(held) == napi_ok) return;
    refused_.push_back(std::move(*held));
    delete held;
  });
  return promise;
}

void Environment::settle(Napi::Env env, Napi::Function, Environment* self, std::shared_ptr<Job>* held) {
  const auto job = std::move(*held);
  delete held;
  if (static_cast<napi_env>(env) == nullptr) return;
  if (--self->pending_ == 0) self->channel_.Unref(env);
  Napi::HandleScope scope(env);
  if (!job->error) {
    try {
      job->deferred.resolve(env, job->finish(env));
      job->value = nullptr;
      return;
    } catch (...) {
      job->error = std::current_exception();
    }
  }
  try {
    job->deferred.reject(env, self->to_error(env, job->error));
  } catch (const Napi::Error&) {
    // The environment is ending, and makes no more errors.
  }
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
    // Which carries pages of C++ backtrace, and more lines of advice to callers from Python.
    message = "libtorch could not compute this (" + first_line(e.what_without_backtrace()) +
              "): if the models' files are whole, please report it with the command that you ran";
  } catch (const std::bad_alloc&) {
    code = "out_of_memory";
    message = "the machine ran out of memory: use a smaller batch size, --micro-batch or activation checkpointing";
  } catch (const std::exception& e) {
    message = "a native call failed (" + first_line(e.what()) + "): please report it with the command that you ran";
  } catch (...) {
  }
  if (error_class_.IsEmpty()) return Napi::Error::New(env, code + ": " + message).Value();
  return error_class_.New({Napi::String::New(env, code), Napi::String::New(env, message)});
}

void Environment::shut_down() {
  DeviceThread::instance().cancel(id_);
  refused_.clear();
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
