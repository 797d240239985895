// SPDX-License-Identifier: Apache-2.0
//
// What the checker says of one read. Exact and O(1); it runs after every read of every instance, on the table in shared memory.
#pragma once

#include "acks.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tiercache::chaos {

/// A row of the database and what is known of it. The database is this table: a commit is one step, survives every process, and
/// costs nothing beside what is tested. `checker.started` counts commits, so the committed version is one above it.
struct alignas(32) RowState {
  demo::KeyState checker;
  /// Versions up to this one count as current until the next one is acknowledged: Redis lost, by a fault, the version that a
  /// crossing put would have been compared with.
  std::atomic<std::uint32_t> excused{0};

  [[nodiscard]] std::uint32_t committed() const noexcept { return 1 + checker.started.load(std::memory_order_acquire); }  // (1)
  [[nodiscard]] std::uint32_t commit() noexcept {
    return 2 + checker.started.fetch_add(1, std::memory_order_acq_rel);  // (1) pairs with (1): who sees the version sees its row
  }
};

enum class Verdict : std::uint8_t {
  fresh,
  within,        ///< stale, but not by more than the budget
  excused,       ///< stale by more, through a loss that the promise leaves out
  beyond,        ///< stale by more than the budget
  phantom,       ///< a version that was never committed
  unread_write,  ///< older than a write that this instance had been answered
};

inline constexpr std::size_t verdict_count = 6;

[[nodiscard]] constexpr bool is_violation(Verdict v) noexcept { return v >= Verdict::beyond; }

[[nodiscard]] constexpr std::string_view name(Verdict v) noexcept {
  switch (v) {
    case Verdict::fresh: return "fresh";
    case Verdict::within: return "within the budget";
    case Verdict::excused: return "excused";
    case Verdict::beyond: return "stale beyond the budget";
    case Verdict::phantom: return "a version that was never written";
    case Verdict::unread_write: return "older than the instance's own write";
  }
  return "unknown";
}

struct Reading {
  std::uint64_t version = 0;
  std::int64_t began = 0;
  std::uint32_t own = 0;  ///< the highest version that this instance had been answered before the read began
  bool by_l1 = false;
  bool losing = false;  ///< Redis itself may have been two, or gone back, at some time since the read began: see judge()
};

/// The promise is L1's: a value that L1 did not answer is excused while Redis is at odds with itself (two masters, or one that
/// lost acknowledged writes and whose instances have not all noticed). A hit never is.
[[nodiscard]] inline Verdict judge(const RowState& row, const demo::AckLog& acks, std::int64_t budget, const Reading& r,
                                   std::int64_t& staleness) noexcept {
  staleness = 0;
  if (r.version >= row.checker.acked.load(std::memory_order_acquire) && r.version >= r.own) [[likely]] {
    return r.version < 1 || r.version > row.committed() ? Verdict::phantom : Verdict::fresh;
  }
  if (r.version < 1) return Verdict::phantom;
  const std::uint64_t excused = row.excused.load(std::memory_order_acquire);
  const bool forgiven = r.losing && !r.by_l1;
  staleness = acks.staleness(row.checker, std::max(r.version, excused), r.began);
  if (std::max(r.version, excused) < r.own) return forgiven ? Verdict::excused : Verdict::unread_write;
  if (staleness > budget) return forgiven ? Verdict::excused : Verdict::beyond;
  if (staleness != 0) return Verdict::within;
  return r.version < excused ? Verdict::excused : Verdict::fresh;
}

/// Of a copy that is found after the quiet, when nothing is under way: it is the committed row, or what a crossing put left whose
/// successor Redis had lost, as judge() has it of reads.
[[nodiscard]] inline Verdict judge_copy(const RowState& row, std::uint64_t version) noexcept {
  const std::uint32_t committed = row.committed();
  if (version < 1 || version > committed) return Verdict::phantom;
  if (version == committed) return Verdict::fresh;
  return row.excused.load(std::memory_order_acquire) >= committed ? Verdict::excused : Verdict::beyond;
}

}  // namespace tiercache::chaos
