// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/log.hpp>
#include <tiercache/base/ports.hpp>
#include <tiercache/l2/options.hpp>

#include <memory>
#include <string>

namespace tiercache::l2 {

/// What names a store's keys and messages in Redis (docs/design.md, "Frozen formats").
struct Naming {
  std::string env;
  std::string resource;
  std::uint64_t origin = 0;  ///< random id of this store
};

/// The pooled blocking client. Never fails for want of Redis: it starts unavailable and a thread of its own ("tc-l2") keeps
/// trying. While Redis is away every call returns Errc::unavailable at once. REQUIRES: options.validate().ok().
[[nodiscard]] std::unique_ptr<RemotePort> open_client(const Options& options, const Naming& naming, Log log);

}  // namespace tiercache::l2
