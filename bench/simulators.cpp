// SPDX-License-Identifier: Apache-2.0
#include "simulators.hpp"

#include <algorithm>
#include <deque>
#include <vector>

namespace tiercache::bench {
namespace {

constexpr std::uint32_t none = ~std::uint32_t{0};

/// A doubly linked list of key numbers, newest at the head.
class List {
 public:
  explicit List(std::uint32_t keys) : newer_(keys, none), older_(keys, none) {}
  void push_head(std::uint32_t key) {
    newer_[key] = none;
    older_[key] = head_;
    (head_ == none ? tail_ : newer_[head_]) = key;
    head_ = key;
  }
  void remove(std::uint32_t key) {
    (newer_[key] == none ? head_ : older_[newer_[key]]) = older_[key];
    (older_[key] == none ? tail_ : newer_[older_[key]]) = newer_[key];
  }
  [[nodiscard]] std::uint32_t tail() const { return tail_; }
  [[nodiscard]] std::uint32_t newer(std::uint32_t key) const { return newer_[key]; }

 private:
  std::vector<std::uint32_t> newer_;
  std::vector<std::uint32_t> older_;
  std::uint32_t head_ = none;
  std::uint32_t tail_ = none;
};

double share(std::size_t hits, std::span<const std::uint32_t> requests) {
  return requests.empty() ? 0 : static_cast<double>(hits) / static_cast<double>(requests.size());
}

}  // namespace

double simulate_lru(std::span<const std::uint32_t> requests, std::uint32_t keys, std::size_t capacity) {
  List list(keys);
  std::vector<bool> in(keys);
  std::size_t size = 0;
  std::size_t hits = 0;
  for (const std::uint32_t key : requests) {
    if (in[key]) {
      ++hits;
      list.remove(key);
    } else if (size < capacity) {
      ++size;
    } else {
      const std::uint32_t victim = list.tail();
      in[victim] = false;
      list.remove(victim);
    }
    in[key] = true;
    list.push_head(key);
  }
  return share(hits, requests);
}

double simulate_clock(std::span<const std::uint32_t> requests, std::uint32_t keys, std::size_t capacity) {
  std::vector<std::uint32_t> ring;
  std::vector<bool> in(keys);
  std::vector<bool> used(keys);
  std::size_t hand = 0;
  std::size_t hits = 0;
  for (const std::uint32_t key : requests) {
    if (in[key]) {
      ++hits;
      used[key] = true;
      continue;
    }
    in[key] = true;
    used[key] = false;
    if (ring.size() < capacity) {
      ring.push_back(key);
      continue;
    }
    for (; used[ring[hand]]; hand = (hand + 1) % capacity) used[ring[hand]] = false;
    in[ring[hand]] = false;
    ring[hand] = key;
    hand = (hand + 1) % capacity;
  }
  return share(hits, requests);
}

double simulate_sieve(std::span<const std::uint32_t> requests, std::uint32_t keys, std::size_t capacity) {
  List list(keys);
  std::vector<bool> in(keys);
  std::vector<bool> used(keys);
  std::uint32_t hand = none;
  std::size_t size = 0;
  std::size_t hits = 0;
  for (const std::uint32_t key : requests) {
    if (in[key]) {
      ++hits;
      used[key] = true;
      continue;
    }
    if (size < capacity) {
      ++size;
    } else {
      const auto wrapped = [&list](std::uint32_t at) { return at == none ? list.tail() : at; };
      hand = wrapped(hand);
      for (; used[hand]; hand = wrapped(list.newer(hand))) used[hand] = false;
      const std::uint32_t victim = hand;
      hand = list.newer(hand);
      list.remove(victim);
      in[victim] = false;
    }
    in[key] = true;
    used[key] = false;
    list.push_head(key);
  }
  return share(hits, requests);
}

double simulate_s3fifo(std::span<const std::uint32_t> requests, std::uint32_t keys, std::size_t capacity) {
  enum class Where : std::uint8_t { out, small, main };
  struct State {
    Where where = Where::out;
    std::uint8_t uses = 0;
    std::uint32_t ghosts = 0;  // times it is in the ghost queue
  };
  std::vector<State> states(keys);
  std::deque<std::uint32_t> small;
  std::deque<std::uint32_t> main;
  std::deque<std::uint32_t> ghost;
  const std::size_t small_target = std::max<std::size_t>(1, capacity / 10);
  const std::size_t ghost_capacity = capacity - capacity / 10;
  const auto pop = [](std::deque<std::uint32_t>& queue) {
    const std::uint32_t key = queue.front();
    queue.pop_front();
    return key;
  };
  const auto evict_one = [&] {
    for (;;) {
      if (!small.empty() && (small.size() >= small_target || main.empty())) {
        const std::uint32_t key = pop(small);
        State& s = states[key];
        if (s.uses > 1) {
          s = {Where::main, 0, s.ghosts};
          main.push_back(key);
          continue;
        }
        s.where = Where::out;
        ++s.ghosts;
        ghost.push_back(key);
        if (ghost.size() > ghost_capacity) --states[pop(ghost)].ghosts;
        return;
      }
      const std::uint32_t key = pop(main);
      if (states[key].uses == 0) {
        states[key].where = Where::out;
        return;
      }
      --states[key].uses;
      main.push_back(key);
    }
  };
  std::size_t hits = 0;
  for (const std::uint32_t key : requests) {
    State& s = states[key];
    if (s.where != Where::out) {
      ++hits;
      if (s.uses < 3) ++s.uses;
      continue;
    }
    const bool known = s.ghosts != 0;  // before an eviction pushes it out
    if (small.size() + main.size() >= capacity) evict_one();
    s.where = known ? Where::main : Where::small;
    s.uses = 0;
    (known ? main : small).push_back(key);
  }
  return share(hits, requests);
}

}  // namespace tiercache::bench
