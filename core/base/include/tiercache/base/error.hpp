// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tiercache {

/// Why a call failed. The comment says what the caller may assume of the data afterwards.
enum class Errc : std::uint8_t {
  invalid_argument,   ///< A key, option or config field was refused. Nothing was sent or changed.
  unavailable,        ///< Redis is away or switched off. Nothing was sent: nothing changed.
  deadline_exceeded,  ///< The deadline passed before anything was sent (reads: at any time). Nothing changed.
  outcome_unknown,    ///< A write was sent and its answer never came: it may or may not have happened.
                      ///< The local copy is dropped. Repeat the erase, or erase after a put, until one is answered.
  refused,            ///< Redis answered with an error (OOM, READONLY, NOREPLICAS, NOPERM, ...). A put's key was erased
                      ///< instead where Redis let that happen, as `message` says; else the old value stands.
  superseded,         ///< A versioned put met the same or a newer version. The newer value stands.
  too_large,          ///< The key or the value is over its limit. Nothing was sent or changed.
  bad_data,           ///< Bytes did not verify or decode. Served as a miss wherever a miss is possible.
  loader_failed,      ///< The caller's loader threw; `message` is its what(). Nothing was stored.
  closed,             ///< The store is closed, or this process is a fork's child.
  unreplicated,       ///< The write was done and announced, but fewer replicas than l2.wait_replicas confirmed it in time.
  unacknowledged,     ///< The clear was done and announced; `message` names the instances that did not confirm it by the
                      ///< deadline. They may answer with older values until D has passed since.
  internal,           ///< A broken invariant was noticed and contained. Please report it.
  update_failed,      ///< update(): the caller's database write threw; `message` is its what(). The key was erased.
  stale,              ///< L1 is not coherent within the staleness asked for, and the caller wanted no more than that
                      ///< (WhenStale::fail). Nobody was asked, nothing changed.
};

/// The name of an error kind as it stands in logs and metrics ("deadline_exceeded"). Static storage.
[[nodiscard]] constexpr std::string_view name(Errc code) noexcept {
  switch (code) {
    case Errc::invalid_argument: return "invalid_argument";
    case Errc::unavailable: return "unavailable";
    case Errc::deadline_exceeded: return "deadline_exceeded";
    case Errc::outcome_unknown: return "outcome_unknown";
    case Errc::refused: return "refused";
    case Errc::superseded: return "superseded";
    case Errc::too_large: return "too_large";
    case Errc::bad_data: return "bad_data";
    case Errc::loader_failed: return "loader_failed";
    case Errc::closed: return "closed";
    case Errc::unreplicated: return "unreplicated";
    case Errc::unacknowledged: return "unacknowledged";
    case Errc::internal: return "internal";
    case Errc::update_failed: return "update_failed";
    case Errc::stale: return "stale";
  }
  return "unknown";
}
inline constexpr std::size_t errc_count = 15;

/// An expected failure. `message` names the field, key or peer that it is about.
struct Error {
  Errc code = Errc::internal;
  std::string message;
};

}  // namespace tiercache
