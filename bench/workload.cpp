// SPDX-License-Identifier: Apache-2.0
#include "workload.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <random>

namespace tiercache::bench {

const std::size_t key_size = key_bytes;

namespace {

/// Ranks 1 .. n with probability ~ r^-theta by rejection from the area under the curve: no table, so n costs nothing.
class Zipf {
 public:
  Zipf(std::uint32_t n, double theta) : n_(n), theta_(theta), low_(area(0.5)), high_(area(n + 0.5)) {}

  template <class Rng>
  std::uint32_t operator()(Rng& rng) const {
    for (;;) {
      // A point under the curve x^-theta between 0.5 and n + 0.5, uniform by area. Its rank is the nearest whole number; the bar
      // of rank r is as wide as 1 and as high as r^-theta. The curve is convex: the area above [r - 0.5, r + 0.5] is at least
      // the bar's, so accepting with bar / area makes the ranks exact.
      const double x = inverse(low_ + uniform_(rng) * (high_ - low_));
      const auto rank = std::clamp<std::uint32_t>(static_cast<std::uint32_t>(std::lround(x)), 1, n_);
      const double bar = std::pow(rank, -theta_);
      if (rank > 32) return rank;  // bar / area is above 0.9999 from here on
      if (uniform_(rng) * (area(rank + 0.5) - area(rank - 0.5)) <= bar) return rank;
    }
  }

 private:
  [[nodiscard]] double area(double x) const { return std::pow(x, 1 - theta_) / (1 - theta_); }
  [[nodiscard]] double inverse(double a) const { return std::pow(a * (1 - theta_), 1 / (1 - theta_)); }

  std::uint32_t n_;
  double theta_;
  double low_;
  double high_;
  mutable std::uniform_real_distribution<double> uniform_{0, 1};
};

}  // namespace

Request request_of(std::uint32_t id) {
  Request r{};
  std::memcpy(r.text.data(), "user:000000000000000", key_bytes);
  std::uint32_t rest = id;
  for (std::size_t at = key_bytes; rest != 0; rest /= 10) r.text[--at] = static_cast<char>('0' + rest % 10);
  r.id = id;
  return r;
}

std::size_t next_start() {
  static std::atomic<std::uint64_t> samples{1};
  return static_cast<std::size_t>((samples.fetch_add(1, std::memory_order_relaxed) * 0x9e3779b97f4a7c15ULL) >> 32) &
         ~std::size_t{127};
}

Ids all_ids(std::uint32_t keys) {
  Ids ids(keys);
  std::iota(ids.begin(), ids.end(), 0U);
  return ids;
}

Streams make_streams(Ids ids, double theta, std::size_t length, int threads) {
  std::shuffle(ids.begin(), ids.end(), std::mt19937(seed));
  Streams streams(static_cast<std::size_t>(threads));
  const Zipf zipf(static_cast<std::uint32_t>(ids.size()), theta);
  for (std::size_t t = 0; t < streams.size(); ++t) {
    std::mt19937_64 rng(seed + t);
    streams[t].resize(length);
    for (Request& r : streams[t]) r = request_of(ids[zipf(rng) - 1]);
  }
  return streams;
}

}  // namespace tiercache::bench
