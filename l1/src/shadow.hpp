// SPDX-License-Identifier: Apache-2.0
//
// What share of the cache the small queue should have: caches of metadata only try three answers on a sample of the keys.
#pragma once

#include "ghost.hpp"
#include "policy.hpp"
#include "sketch.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

namespace tiercache::l1 {

/// One shadow: the eviction policy in small, with queues in exact order. Single-threaded; allocates in create() only.
class Shadow {
 public:
  static constexpr std::uint32_t limit = 65535;  ///< entries, at most

  [[nodiscard]] bool create(std::uint32_t most_entries, double share) noexcept;
  /// At most the most entries it was created with. The rest leaves with the next misses.
  void resize(std::uint32_t entries) noexcept;
  /// Asks for a key, and stores it if it is not there. True: it was.
  bool access(std::uint32_t identity, const Sketch& sketch) noexcept;

  [[nodiscard]] double share() const noexcept { return share_; }
  [[nodiscard]] std::uint32_t size() const noexcept { return small_.size + main_.size; }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept;

 private:
  using Index = std::uint16_t;  // of a node; 0: none
  // Small, since one is paid for each sampled key in each shadow.
  struct Node {
    std::uint32_t identity;
    std::uint32_t used : 2;
    std::uint32_t stamp : 30;
    Index next;   // towards the younger in its queue; or in the list of the free
    Index chain;  // in the index
  };
  static constexpr std::uint32_t tick_mask = (1U << 30) - 1;
  static_assert(sizeof(Node) == 12 && policy::used_most <= 3);
  struct Queue {
    Index oldest = 0, youngest = 0;
    std::uint32_t size = 0;
  };

  [[nodiscard]] Index& chain_of(std::uint32_t identity) noexcept;
  void push(Queue& queue, Index node) noexcept;
  Index pop(Queue& queue) noexcept;
  void drop(Index node) noexcept;
  void store(Queue& queue, std::uint32_t identity) noexcept;
  [[nodiscard]] policy::Rival rival(Index node) const noexcept {
    return {nodes_[node].identity, (tick_ - nodes_[node].stamp) & tick_mask};
  }
  /// The main queue's victim stays its oldest until it is dropped; 0: there is none.
  Index turn_hand() noexcept;
  void promote(Index node) noexcept;
  void evict_one(const Sketch& sketch) noexcept;

  std::unique_ptr<Node[]> nodes_;  // 0 is no node
  std::unique_ptr<Index[]> index_;
  std::uint32_t most_ = 0, index_size_ = 0, entries_ = 0, small_target_ = 1;
  Index free_ = 0;
  std::uint32_t tick_ = 0;
  double share_ = 0;
  Queue small_, main_;
  Ghost ghost_;
};

/// The shadows and their judge. wants() and offer() are wait-free and for any thread; drain() is run by whoever wins a flag, with
/// bounded work; who stops for ever inside stops the adaptation, nothing else.
class Shadows {
 public:
  static constexpr std::size_t count = 3;
  static constexpr std::array<double, count> shares{.01, .17, .4};
  static constexpr std::size_t initial = 1;

  /// Memory: 1 byte an entry of a large cache, 10 of one of 5,000, 35 of one of at most 2,000; but no more than
  /// `bytes` in all, or little more. False: no memory.
  [[nodiscard]] bool create(std::uint64_t entries, std::uint64_t bytes) noexcept;
  /// The cache holds another number of entries. Without allocation: beyond what create() gave, the sample thins out.
  void resize(std::uint64_t entries) noexcept { wanted_entries_.store(entries, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept;

  /// Is the key in the sample?
  [[nodiscard]] bool wants(std::uint32_t identity) const noexcept {
    return identity * 0x9fb21c651e98df25ULL <= limit_.load(std::memory_order_relaxed);
  }
  /// A sampled key was asked for: a miss, or a hit that raised the entry's use counter.
  void offer(std::uint32_t identity) noexcept;
  /// Lets the shadows see a bounded number of what was offered.
  void drain(const Sketch& sketch) noexcept;
  /// The small queue's share of the cache, and its target in the unit of `capacity`.
  [[nodiscard]] double share() const noexcept { return shares[chosen_.load(std::memory_order_relaxed)]; }
  [[nodiscard]] std::uint64_t window(std::uint64_t capacity) const noexcept {
    return std::max<std::uint64_t>(static_cast<std::uint64_t>(share() * static_cast<double>(capacity)), 1);
  }

 private:
  static constexpr std::uint64_t ring_size = 64;
  static constexpr unsigned drain_most = 32;
  static constexpr std::uint32_t epoch_least = 64;

  void apply_size() noexcept;
  void see(std::uint32_t identity, const Sketch& sketch) noexcept;
  void judge() noexcept;

  std::array<std::atomic<std::uint32_t>, ring_size> ring_{};
  alignas(64) std::atomic<std::uint64_t> pushed_{0};
  alignas(64) std::atomic<bool> draining_{false};
  std::atomic<std::uint64_t> drained_{0};  // written under the flag
  std::atomic<std::uint64_t> limit_{0};
  std::atomic<std::uint64_t> wanted_entries_{0};
  std::atomic<std::uint32_t> chosen_{initial};

  // Under the flag.
  std::uint64_t entries_ = 0;
  std::uint32_t most_ = 0;
  std::uint32_t epoch_ = epoch_least, seen_ = 0;
  std::array<Shadow, count> shadows_;
  std::array<double, count> score_{};
  std::array<std::array<double, count>, count> differ_{};
  double asked_ = 0;
  std::array<std::uint32_t, count> hits_{};
  std::array<std::array<std::uint32_t, count>, count> differed_{};
};

}  // namespace tiercache::l1
