// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/log.hpp>
#include <tiercache/base/ports.hpp>
#include <tiercache/l2/options.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace tiercache::l2 {

/// What names a store's keys and messages in Redis (docs/design.md, "Frozen formats"), and how many messages the log keeps.
struct Naming {
  std::string env;
  std::string resource;
  std::uint64_t origin = 0;           ///< random id of this store
  std::uint32_t log_entries = 16384;  ///< bus.log_entries; 0: no log
  std::string name{};                 ///< what its operators call it, without spaces; empty: the origin
};

/// The pooled blocking client. Never fails for want of Redis: a thread of its own ("tc-l2", all signals blocked) keeps trying
/// with jittered back-off, and while Redis is away every call returns Errc::unavailable at once. Away is also a Redis that hangs:
/// after three calls or connects in a row that ran out of time without any reply, until the thread's handshake is answered.
/// Returns when the first attempt has ended, after `first_wait` at the latest (nullopt: connect_timeout; 0: at once, and calls
/// are unavailable until it has ended). REQUIRES: options.validate().ok(). With options.enabled == false nothing is ever
/// connected and every call is unavailable. Throws std::system_error when no thread can be started.
///
/// Thread-safe; start() always answers before it returns and ignores `resume`. A request without a deadline gets call_timeout
/// (clear: 120 times that). What is ours beyond the port's description:
/// * Keys must be physical keys of this store and of request.shard; anything else is invalid_argument. `head` is 48 bytes.
/// * erase: at most 1024 keys and 1 MiB of message; more is too_large, nothing was sent.
/// * lease_get with the token that already holds the lease is granted again: a repetition after a lost answer is safe.
/// * heartbeat: ttl_ms is the life of its key in Redis (0: a minute); `count` is the last sequence number given.
/// * resync: one page, at most 512 messages or little more than 256 KiB. Not applied: the log does not reach back to `sequence`,
///   has a hole after it, or is of another epoch or another run of the server. Applied without messages below `count`: a hole.
/// * heartbeat, resync, lease_renew, lease_release and ping may use one connection beyond pool_size: callers never starve them.
/// * clear, clear_all: work on one shard: announce, delete leases, then values, announce again; a load that began before
///   never fills afterwards. With a pattern (Redis's glob, over ids) only what matches is deleted, while the announcements void
///   the whole view in every L1. `count`: values deleted. refused, unavailable, deadline_exceeded: no key was deleted. Whatever
///   ends it once the first announcement was sent (an error of the server, the deadline, a lost connection) is outcome_unknown:
///   any keys of the view may still stand. It may be repeated.
/// * put, lease_fill with tags: the key joins the tags' sets in the same step. lease_fill with tags is not applied when one of
///   them was stamped since `stamp` was answered.
/// * tag_stamp: where it cannot be noted (no memory) every lease of the view is deleted instead: no load of before fills.
/// * put, put_many, erase, ungate, clear, clear_all with wait_replicas: unreplicated when fewer confirmed; the write itself was
/// done.
/// * get: a key that holds no string makes the whole call refused.
/// Reads are repeated once on another connection when theirs breaks; writes only while not a byte of them was sent.
/// bad_data: the reply was not what the command gives; the connection was closed.
[[nodiscard]] std::unique_ptr<RemotePort> open_client(const Options& options, const Naming& naming, Log log,
                                                      std::optional<std::chrono::milliseconds> first_wait = std::nullopt);

}  // namespace tiercache::l2
