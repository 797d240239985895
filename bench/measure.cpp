// SPDX-License-Identifier: Apache-2.0
#include "measure.hpp"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <thread>

namespace tiercache::bench {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double spread(std::vector<double> values) {
  if (values.size() < 3) return 0;
  std::sort(values.begin(), values.end());
  return (values[values.size() * 3 / 4] - values[values.size() / 4]) / 2 / median(values);
}

double rate(int threads, double seconds, const Work& work) {
  using Clock = std::chrono::steady_clock;
  std::barrier start(threads + 1);
  std::atomic<bool> stop{false};
  std::vector<double> rates(static_cast<std::size_t>(threads));
  std::vector<std::thread> running;
  running.reserve(rates.size());
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      start.arrive_and_wait();
      const auto began = Clock::now();
      const std::uint64_t done = work(t, stop);
      rates[static_cast<std::size_t>(t)] =
          static_cast<double>(done) / std::chrono::duration<double>(Clock::now() - began).count();
    });
  }
  start.arrive_and_wait();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop.store(true, std::memory_order_relaxed);
  double sum = 0;
  for (std::size_t t = 0; t < running.size(); ++t) {
    running[t].join();
    sum += rates[t];
  }
  return sum;
}

Samples interleave(const std::vector<Contender>& contenders, int rounds) {
  Samples samples;
  for (std::size_t round = 0; round < static_cast<std::size_t>(rounds); ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      const Contender& c = contenders[(round + i) % contenders.size()];
      samples[c.name].push_back(c.measure());
    }
    std::fputc('.', stderr);
    std::fflush(stderr);
  }
  return samples;
}

}  // namespace tiercache::bench
