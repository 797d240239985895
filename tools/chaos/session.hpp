// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "board.hpp"
#include "cell.hpp"

#include <tiercache/tiercache.hpp>

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tiercache::chaos {

/// What the sessions of one instance share.
struct Shop {
  Shop(const Board& board_, unsigned instance_, Cache<Cell> cells_);

  const Board& board;
  const unsigned instance;
  Cache<Cell> cells;
  std::vector<std::string> names;                    ///< of the keys: "k7"; of probes "p7"
  std::vector<std::atomic<std::uint32_t>> answered;  ///< a key's highest version that a write of this instance was answered for
};

/// One thread's way to the rows. Reads are judged, writes are finished: one whose announcement failed is repeated, by settle(),
/// until it is answered, and counts as acknowledged only then. Not thread-safe.
class Session {
 public:
  /// Takes over what an earlier incarnation of this session left half done.
  Session(Shop& shop, unsigned index);

  void read(std::uint32_t key);
  void read_many(std::span<const std::uint32_t> keys);
  /// REQUIRES: settled(); of a plain key, that the session owns it. The row is committed, then the cache is told. What was
  /// answered is then read again at once.
  void write(std::uint32_t key);
  /// REQUIRES: settled(); at most batch_max keys, none twice: all are erased, all are plain keys that the session owns, or it is
  /// one. The rows are committed, then, `hesitation_ns` later, the cache is told by one call.
  void write_many(std::span<const std::uint32_t> keys, std::int64_t hesitation_ns = 0);
  [[nodiscard]] bool settled() const noexcept { return writing_.empty(); }
  /// Tries again to finish the write; at most every few milliseconds.
  void settle();

 private:
  struct Writing {
    std::uint32_t key = 0;
    std::uint32_t version = 0;
  };

  Loaded<Cell> load(std::uint32_t key);
  void take(std::uint32_t key, const Handle<Cell>& cell, Reading reading, std::uint32_t losses);
  void announce();
  [[nodiscard]] std::optional<Errc> tell();
  [[nodiscard]] std::optional<Errc> put_all();
  [[nodiscard]] std::optional<Errc> erase_all();
  void acknowledge(const Writing& w);
  [[nodiscard]] std::uint32_t losses() const noexcept { return board_.header().losses.load(std::memory_order_seq_cst); }

  Shop& shop_;
  const Board& board_;
  const unsigned index_;
  SessionSlot& slot_;
  const demo::AckLog acks_;
  const std::span<RowState> rows_;
  std::vector<std::uint32_t> seen_;  ///< the highest version of each key that this incarnation was given
  std::vector<Writing> writing_;     // not yet acknowledged, all written the same way
  std::uint32_t losses_before_ = 0;  // before the commit
  bool tried_ = false;               // a put may have been sent, answered or not
  std::int64_t next_try_ = 0;
};

}  // namespace tiercache::chaos
