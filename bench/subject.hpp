// SPDX-License-Identifier: Apache-2.0
//
// One structure under one kind of load: a sample each. A wrong value or a miss of a key that is in throws: such a figure would be
// worthless.
#pragma once

#include "histogram.hpp"
#include "measure.hpp"
#include "workload.hpp"

#include <atomic>
#include <cstdint>
#include <stdexcept>

namespace tiercache::bench {

/// What the threads of a sample saw.
class Tally {
 public:
  void add(std::uint64_t asked, std::uint64_t hits, std::uint64_t difference) {
    asked_ += asked;
    hits_ += hits;
    difference_ |= difference;
  }
  /// All reads hit but `allowed` of them, a share, and every value was its key's.
  void check(double allowed) const {
    if (difference_ != 0) throw std::runtime_error("a read returned another key's value");
    if (1 - hit_ratio() > allowed)
      throw std::runtime_error("a share of " + std::to_string(1 - hit_ratio()) + " of the reads missed");
  }
  [[nodiscard]] double hit_ratio() const { return asked_ == 0 ? 1 : static_cast<double>(hits_) / static_cast<double>(asked_); }

 private:
  std::atomic<std::uint64_t> asked_{0};
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> difference_{0};
};

constexpr std::uint64_t operations_per_look = 128;  // between looks at `stop`

enum class Access { in_place, copied };

/// `read(request, f)` calls f(request, value) on a hit.
template <class Read>
double read_rate(const Streams& streams, int threads, double seconds, Access access, Read&& read) {
  Tally tally;
  const double result = rate(threads, seconds, [&](int thread, const std::atomic<bool>& stop) {
    const std::vector<Request>& requests = streams[static_cast<std::size_t>(thread) % streams.size()];
    const std::size_t mask = requests.size() - 1;
    const std::size_t start = next_start();
    std::size_t i = start;
    std::uint64_t hits = 0;
    std::uint64_t wrong = 0;
    const auto look = [&](const Request& r, const Value& v) {
      ++hits;
      wrong |= difference(v, r.id);
    };
    const auto copy = [&](const Request& r, const Value& v) {
      Value own = v;
      keep(&own);
      look(r, own);
    };
    while (!stop.load(std::memory_order_relaxed)) {
      for (std::uint64_t n = 0; n < operations_per_look; ++n, ++i) {
        if (access == Access::copied) {
          read(requests[i & mask], copy);
        } else {
          read(requests[i & mask], look);
        }
      }
    }
    tally.add(i - start, hits, wrong);
    return i - start;
  });
  tally.check(0);
  return result;
}

/// `read(requests, f)` looks up N in a row and calls f(request, value) for each hit.
template <std::size_t N, class Read>
double batch_rate(const Streams& streams, int threads, double seconds, Read&& read) {
  Tally tally;
  const double result = rate(threads, seconds, [&](int thread, const std::atomic<bool>& stop) {
    const std::vector<Request>& requests = streams[static_cast<std::size_t>(thread) % streams.size()];
    const std::size_t mask = requests.size() - 1;
    static_assert(operations_per_look % N == 0, "a batch must not run past the end");
    const std::size_t start = next_start();
    std::size_t i = start;
    std::uint64_t hits = 0;
    std::uint64_t wrong = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      for (std::uint64_t n = 0; n < operations_per_look; n += N, i += N) {
        read(&requests[i & mask], [&](const Request& r, const Value& v) {
          ++hits;
          wrong |= difference(v, r.id);
        });
      }
    }
    tally.add(i - start, hits, wrong);
    return i - start;
  });
  tally.check(0);
  return result;
}

/// A thread's choice between read and write.
class Dice {
 public:
  explicit Dice(int thread) : state_(seed * 2654435761U + static_cast<std::uint64_t>(thread) * 40503 + 1) {}
  /// True in `percent` of 100 calls.
  bool operator()(std::uint32_t percent) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::uint32_t>(((state_ >> 32) * 100) >> 32) < percent;
  }

 private:
  std::uint64_t state_;
};

struct Mixed {
  double rate = 0;
  double hit_ratio = 0;
};

/// Reads and writes; a read that misses is followed by a write, as a cache's caller would.
template <class Read, class Put>
Mixed mixed_rate(const Streams& streams, int threads, double seconds, std::uint32_t read_percent, Read&& read, Put&& put) {
  Tally tally;
  Mixed result;
  result.rate = rate(threads, seconds, [&](int thread, const std::atomic<bool>& stop) {
    const std::vector<Request>& requests = streams[static_cast<std::size_t>(thread) % streams.size()];
    const std::size_t mask = requests.size() - 1;
    Dice dice(thread);
    const std::size_t start = next_start();
    std::size_t i = start;
    std::uint64_t asked = 0;
    std::uint64_t hits = 0;
    std::uint64_t wrong = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      for (std::uint64_t n = 0; n < operations_per_look; ++n, ++i) {
        const Request& r = requests[i & mask];
        if (dice(read_percent)) {
          const std::uint64_t before = hits;
          ++asked;
          read(r.key(), [&](const Value& v) {
            ++hits;
            wrong |= difference(v, r.id);
          });
          if (hits != before) continue;
        }
        put(r.key(), value_of(r.id));
      }
    }
    tally.add(asked, hits, wrong);
    return i - start;
  });
  tally.check(1);
  result.hit_ratio = tally.hit_ratio();
  return result;
}

struct Latencies {
  TickHistogram gets;
  TickHistogram puts;
};

/// Every operation timed; puts overwrite.
template <class S>
Latencies latencies(S& structure, const Streams& streams, int threads, double seconds, std::uint32_t read_percent,
                    double misses_allowed) {
  Tally tally;
  std::vector<Latencies> of_thread(static_cast<std::size_t>(threads));
  static_cast<void>(rate(threads, seconds, [&](int thread, const std::atomic<bool>& stop) {
    const std::vector<Request>& requests = streams[static_cast<std::size_t>(thread) % streams.size()];
    const std::size_t mask = requests.size() - 1;
    Latencies& own = of_thread[static_cast<std::size_t>(thread)];
    Dice dice(thread);
    std::size_t i = next_start();
    std::uint64_t asked = 0;
    std::uint64_t hits = 0;
    std::uint64_t wrong = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      for (std::uint64_t n = 0; n < operations_per_look; ++n, ++i) {
        const Request& r = requests[i & mask];
        const bool reads = dice(read_percent);
        const std::uint64_t began = ticks();
        if (reads) {
          structure.read(r.key(), [&](const Value& v) {
            ++hits;
            wrong |= difference(v, r.id);
          });
        } else {
          structure.put(r.key(), value_of(r.id));
        }
        (reads ? own.gets : own.puts).add(ticks() - began);
        asked += reads ? 1 : 0;
      }
    }
    tally.add(asked, hits, wrong);
    return asked;
  }));
  tally.check(misses_allowed);
  Latencies sum;
  for (const Latencies& l : of_thread) {
    sum.gets += l.gets;
    sum.puts += l.puts;
  }
  return sum;
}

}  // namespace tiercache::bench
