// SPDX-License-Identifier: Apache-2.0
//
// The calls of views and stores on many keys: checks, then flow_bulk.cpp.
#include "flow.hpp"
#include "glob.hpp"

#include <tiercache/core/store.hpp>
#include <tiercache/core/view.hpp>

namespace tiercache {
namespace detail {
namespace {

/// `run()`, or internal for want of memory.
template <class F>
Result<WriteToken> contained(StoreCore& core, F&& run) noexcept {
  try {
    return run();
  } catch (...) {
    core.errors.count(Errc::internal);
    return Error{Errc::internal, "out of memory"};
  }
}

/// Voids what matches, of one view or (null) of all.
Result<WriteToken> clear(StoreCore& core, ViewState* view, std::string_view glob, const BulkOptions& options) noexcept {
  return contained(core, [&]() -> Result<WriteToken> {
    if (const char* why = core.unusable()) return Error{Errc::closed, why};
    // Without a bus no other L1 hears of anything, and none says what it heard.
    if (options.acknowledged && core.has_remote() && !core.config.bus.enabled)
      return Error{Errc::invalid_argument, "acknowledged: needs bus.enabled"};
    BlockingDriver driver;
    // It is as long as the key space is: without a deadline of its own it gets l2's for such work.
    const Deadline deadline = options.deadline.count() > 0 ? Deadline::after(options.deadline) : Deadline::never();
    BulkCall call{core, view, driver, deadline, options.acknowledged};
    return clear_flow(call, glob).run();
  });
}

}  // namespace

Result<WriteToken> View::clear(const BulkOptions& options) noexcept {
  if (error_) return *error_;
  return detail::clear(*core_, state_, {}, options);
}

Result<WriteToken> View::erase_prefix(std::string_view prefix, const BulkOptions& options) noexcept {
  if (error_) return *error_;
  if (id_fault(prefix) != nullptr)
    return Error{Errc::invalid_argument, "prefix: must be 1 to 1024 bytes above 0x20, without 0x7F and braces"};
  return contained(*core_, [&] { return detail::clear(*core_, state_, glob_of_prefix(prefix), options); });
}

Result<WriteToken> View::erase_matching(std::string_view glob, const BulkOptions& options) noexcept {
  if (error_) return *error_;
  if (const char* fault = glob_fault(glob)) return Error{Errc::invalid_argument, fault};
  return detail::clear(*core_, state_, glob, options);
}

Result<WriteToken> View::erase_tag(std::string_view tag, const WriteOptions& options) noexcept {
  if (error_) return *error_;
  return contained(*core_, [&]() -> Result<WriteToken> {
    if (Result<void> r = check_name("tag", tag); !r) return std::move(r).error();
    if (const char* why = core_->unusable()) return Error{Errc::closed, why};
    BlockingDriver driver;
    const Deadline deadline = options.deadline.count() > 0 ? Deadline::after(options.deadline) : Deadline::never();
    WriteCall call{*core_, *state_, driver, deadline, {}, 0};
    return erase_tag_flow(call, tag).run();
  });
}

}  // namespace detail

Result<WriteToken> Store::clear(const BulkOptions& options) {
  if (!core_) return Error{Errc::closed, "the store was moved from"};
  return detail::clear(*core_, nullptr, {}, options);
}

}  // namespace tiercache
