// SPDX-License-Identifier: Apache-2.0
//
// How everything here is measured: threads that start together and work until they are told to stop, and rounds in which each
// contender has its turn, so that a ratio is taken between neighbours in time and the machine's drift cancels.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace tiercache::bench {

[[nodiscard]] double median(std::vector<double> values);
/// Half the distance between the quartiles, as a share of the median; 0 for fewer than three values.
[[nodiscard]] double spread(std::vector<double> values);

/// What one thread does until `stop`; returns its operations.
using Work = std::function<std::uint64_t(int thread, const std::atomic<bool>& stop)>;

/// Operations a second of all threads together. Each thread's are divided by its own time, so that starting costs nothing.
[[nodiscard]] double rate(int threads, double seconds, const Work& work);

/// Keeps the compiler from leaving out what makes the bytes at `p`.
inline void keep(const void* p) { asm volatile("" : : "r"(p) : "memory"); }

struct Contender {
  std::string name;
  std::function<double()> measure;  ///< one sample; throws std::runtime_error when the contender answered wrongly
};

/// Name -> one sample a round, in the order of the rounds. Each round starts with another contender.
using Samples = std::map<std::string, std::vector<double>>;
[[nodiscard]] Samples interleave(const std::vector<Contender>& contenders, int rounds);

}  // namespace tiercache::bench
