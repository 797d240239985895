// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/l1/profile.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tiercache::l1 {

/// The sampled LRU stack and the histogram of reuse distances (see Profile). Not thread-safe.
///
/// Each sampled key lies at the position of its last access in a line of 2 x samples_max positions; sums over blocks of the line
/// give the bytes accessed since. When the line or the index is full it is rebuilt: the keys are packed
/// together, those are dropped that no size of the curve would still hold (their next access is a miss either way), and the
/// threshold is lowered while more than three quarters of the room is taken. It is raised when less than a quarter is:
/// the keys it adds have no past, so for a while the curve is too low, until that is forgotten. Rejected: dropping the key of
/// the highest hash one by one, as in the paper: a heap more, for the same samples.
class MissCurve {
 public:
  static constexpr std::size_t sizes = 65;

  static constexpr std::uint64_t bytes_needed(std::uint32_t samples_max) noexcept {
    return 2 * std::uint64_t{samples_max} * (sizeof(Position) + sizeof(std::uint32_t)) +
           blocks(2 * samples_max) * sizeof(std::uint64_t);
  }
  /// options.samples_max: a power of two. False: no memory.
  [[nodiscard]] bool create(const ProfileOptions& options) noexcept;

  /// bytes 0: not known.
  void access(std::uint64_t hash, std::uint32_t bytes) noexcept;
  /// Accesses with next to nothing between them and the one before.
  void repeat(std::uint64_t hash, std::uint32_t times) noexcept;
  void resize(std::uint64_t hash, std::uint32_t bytes) noexcept;
  void remove(std::uint64_t hash) noexcept;
  /// Sampled accesses that did not get here.
  void lose(std::uint64_t times) noexcept { expected_ -= static_cast<double>(times); }

  [[nodiscard]] std::uint64_t threshold() const noexcept { return threshold_; }
  [[nodiscard]] double rate() const noexcept { return static_cast<double>(threshold_) / 4294967296.0; }
  [[nodiscard]] std::uint64_t sampled_keys() const noexcept { return keys_; }
  [[nodiscard]] std::vector<MissCurvePoint> curve();

 private:
  struct Position {
    std::uint64_t hash = 0;
    std::uint32_t bytes = 0;
    std::uint32_t state = 0;
  };
  static constexpr std::uint32_t vacant = 0;
  static constexpr std::uint32_t live = 1;
  static constexpr std::uint32_t removed = 2;  // known, but the next access is a miss

  /// About the square root, so that a sum over blocks and one within a block cost the same.
  static constexpr unsigned block_shift(std::uint32_t positions) noexcept {
    return static_cast<unsigned>(std::bit_width(positions)) / 2;
  }
  static constexpr std::uint32_t blocks(std::uint32_t positions) noexcept { return positions >> block_shift(positions); }

  [[nodiscard]] std::uint32_t* look_up(std::uint64_t hash) noexcept;
  void append(std::uint32_t* indexed, std::uint64_t hash, std::uint32_t bytes) noexcept;
  void vacate(std::uint32_t position) noexcept;
  [[nodiscard]] std::uint64_t bytes_after(std::uint32_t position) const noexcept;
  void count(double distance, double times) noexcept;
  void settle() noexcept;
  void scale(double factor) noexcept;
  void rebuild() noexcept;
  [[nodiscard]] std::uint32_t first_in_range() const noexcept;

  std::uint32_t samples_max_ = 0;
  std::uint32_t positions_ = 0;
  std::uint64_t threshold_ = 0;
  std::uint64_t threshold_max_ = 0;
  std::unique_ptr<Position[]> line_;
  std::unique_ptr<std::uint64_t[]> sums_;   // of the blocks' bytes
  std::unique_ptr<std::uint32_t[]> index_;  // 1 + position; linear probing, never emptied but by rebuild()
  std::uint32_t next_ = 0;
  std::uint32_t keys_ = 0;  // in the index
  double average_bytes_ = 256;

  std::array<double, sizes> edges_{};
  std::array<double, sizes + 1> histogram_{};  // the last: cold, or beyond all sizes
  double counted_ = 0;
  double expected_ = 0;  // of counted_, were the sample perfect
  std::uint64_t accesses_seen_ = 0;
  double since_halved_ = 0;
  double half_life_ = 0;
  std::uint64_t (*accesses_)(const void*) noexcept = nullptr;
  const void* accesses_context_ = nullptr;
};

}  // namespace tiercache::l1
