// SPDX-License-Identifier: Apache-2.0
#include "replay.hpp"

#include "policy.hpp"

#include <tiercache/l1/footprint.hpp>
#include <tiercache/l1/table.hpp>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace tiercache::bench {
namespace {

constexpr std::uint32_t bytes_an_object = 4096;  // far more than one takes: the number of objects is what limits
constexpr std::uint64_t bytes_least = 1 << 20;
constexpr std::size_t deal = 16;  // requests that a thread takes at a time

struct Seen {
  std::uint64_t hits = 0;
  bool wrong = false;
};

class Player {
 public:
  Player(const tools::Trace& trace, std::unique_ptr<l1::Table> table)
      : trace_(trace), table_(std::move(table)), view_(*table_->add_view(l1::type_ops<std::uint64_t>())) {}

  Seen play(std::size_t threads) {
    std::vector<Seen> seen(threads);
    std::vector<std::thread> others;
    std::barrier start(static_cast<std::ptrdiff_t>(threads));
    for (std::size_t t = 1; t < threads; ++t) {
      others.emplace_back([&, t] {
        start.arrive_and_wait();
        seen[t] = deal_until_end();
      });
    }
    start.arrive_and_wait();
    seen[0] = deal_until_end();
    for (std::thread& other : others) other.join();
    Seen sum;
    for (const Seen& s : seen) sum = {sum.hits + s.hits, sum.wrong || s.wrong};
    return sum;
  }

 private:
  Seen deal_until_end() {
    Seen seen;
    for (;;) {
      const std::size_t from = next_.fetch_add(deal, std::memory_order_relaxed);
      if (from >= trace_.requests.size()) return seen;
      const std::size_t to = std::min(trace_.requests.size(), from + deal);
      for (std::size_t i = from; i < to; ++i) request(trace_.requests[i], seen);
    }
  }

  void request(std::uint32_t id, Seen& seen) {
    const std::string key = std::to_string(id);
    const std::uint64_t hash = table_->hash(view_, key);
    if (const l1::Pin pin = table_->find(view_, key, hash, 1, now_)) {
      ++seen.hits;
      seen.wrong = seen.wrong || *static_cast<const std::uint64_t*>(pin.value()) != id;
      return;
    }
    table_->count_miss(hash);
    const l1::Ticket ticket = table_->ticket(hash);
    std::uint64_t value = id;
    static_cast<void>(table_->fill(ticket, view_, key, hash, &value, {.generation = 1}));
  }

  const tools::Trace& trace_;
  std::unique_ptr<l1::Table> table_;
  l1::ViewId view_;
  std::int64_t now_ = coarse_now_ms();
  std::atomic<std::size_t> next_{0};
};

}  // namespace

std::optional<double> replay(const tools::Trace& trace, std::size_t objects, Order order, int threads) {
  l1::Options options;
  options.capacity_objects = objects;
  options.expected_entry_bytes = bytes_an_object;
  options.capacity_bytes = std::max<std::uint64_t>(bytes_least, objects * bytes_an_object);
  if (order == Order::lru && !select_lru(options)) return std::nullopt;
  auto table = l1::Table::create(options);
  if (!table) throw std::runtime_error(table.error().message);
  Player player(trace, std::move(*table));
  const Seen seen = player.play(static_cast<std::size_t>(threads));
  if (seen.wrong) throw std::runtime_error("a read returned another key's value");
  return static_cast<double>(seen.hits) / static_cast<double>(trace.requests.size());
}

}  // namespace tiercache::bench
