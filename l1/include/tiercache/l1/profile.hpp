// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::l1 {

struct ProfileOptions {
  /// What the entries may take: the middle of the curve, which goes from a 16th of it to 16 times it. A table that is resized
  /// later keeps its curve: sizes are absolute.
  std::uint64_t capacity_bytes = 0;
  std::uint64_t memory_max_bytes = 0;  ///< what the profile itself may take; 0: a 64th of the capacity
  std::uint32_t samples_max = 8192;    ///< sampled keys of the curve; fewer where the memory does not do
  double rate_max = 1.0 / 128;         ///< at most this share of all keys is sampled; each sampled access costs about 0.1 us
  std::uint32_t hit_interval = 64;     ///< one in so many hits of a thread feeds the hottest keys
  std::uint32_t curve_half_life = 0;   ///< samples after which what the curve has counted is halved; 0: 8 x samples_max
  std::uint32_t hot_half_life = 16384;
  /// All accesses so far (hits and misses), if the owner counts them: corrects the curve for keys so hot that it matters whether
  /// they happen to be sampled. Called seldom, by whichever thread drains; must be quick and not throw. Null: no correction.
  std::uint64_t (*accesses)(const void* context) noexcept = nullptr;
  const void* accesses_context = nullptr;  ///< outlives the profile
};

/// The share of accesses that would be hits if the entries had so many bytes.
struct MissCurvePoint {
  std::uint64_t capacity_bytes = 0;
  double hit_ratio = 0;
};

struct KeyHeat {
  std::uint16_t view = 0;
  std::string key;         ///< its first 64 bytes
  bool truncated = false;  ///< the key is longer
  double share = 0;        ///< of the hits, lately; rather too low than too high
};

struct ProfileStats {
  double rate = 0;                 ///< share of the keys that the curve samples now
  std::uint64_t sampled_keys = 0;  ///< that the curve holds
  std::uint64_t samples = 0;       ///< processed so far, hits and curve
  std::uint64_t lost = 0;          ///< that found no room to wait in
};

namespace detail {

struct AccessSample;

/// What a thread keeps of its last sampled accesses, so that a key that it reads again and again is not reported each time.
struct RecentAccess {
  std::uint64_t hash = 0;
  std::uint32_t profile = 0;
  std::uint32_t repeats = 0;
};
struct ThreadSampling {
  std::uint32_t gap = 1;  // hits until the next that is sampled
  std::uint32_t stripe = ~std::uint32_t{0};
  std::uint64_t random = 0;
  RecentAccess recent[4];
};
#if defined(__GNUC__) && defined(__ELF__)
[[gnu::tls_model("initial-exec")]]
#endif
extern thread_local constinit ThreadSampling tls_sampling;

}  // namespace detail

/// What a table's workload looks like: the hottest keys, and the hit ratio that other capacities would bring.
///
/// The curve is SHARDS (Waldspurger et al., FAST 2015): of all keys, those whose hash is below a threshold are followed, with
/// their reuse distances in bytes; the threshold sinks and rises so that the sampled keys fit in fixed memory. It models LRU: an
/// estimate, above all of how the ratio changes with the capacity; the policy that ships does better. Entries' bytes alone are
/// modelled, expiry is not. The hottest keys come from a random sample of each thread's hits, counted in fixed memory with
/// exponential decay (Misra and Gries 1982). Both forget, so they follow the workload.
///
/// The feed is wait-free, allocates nothing, makes no system call and may lose samples when several threads bring more than is
/// processed. A call that is not sampled reads one line that is written seldom and writes the thread's own memory only. A sampled
/// one writes to a stripe that few threads share; every 16th of these processes up to 64 samples (of all threads), usually in
/// microseconds, in the worst case O(samples_max). Processing belongs to one thread at a time, and no one waits for it: a thread
/// stopped inside stops the profile, nothing else. All memory is allocated by create().
class Profile {
 public:
  Profile() noexcept;
  /// REQUIRES: no operation is running or follows.
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  /// Once, before anything else. False: no memory. When `memory_max_bytes` does not do for the smallest profile (48 KiB), there
  /// is none: enabled() is false, and the feed does nothing.
  [[nodiscard]] bool create(const ProfileOptions& options) noexcept;
  [[nodiscard]] bool enabled() const noexcept { return state_ != nullptr; }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept;

  /// True when the curve follows the key.
  [[nodiscard]] bool samples(std::uint64_t hash) const noexcept {
    return mixed(hash) < threshold_.load(std::memory_order_relaxed);
  }
  /// A hit; `bytes` is what the entry is charged.
  void found(std::uint16_t view, std::string_view key, std::uint64_t hash, std::uint64_t bytes) noexcept {
    if (samples(hash)) [[unlikely]]
      accessed(hash, bytes);
    if (--detail::tls_sampling.gap == 0) [[unlikely]]
      hit(view, key, hash);
  }
  /// A miss. The entry's size is not known yet: it is taken to be what it was last, or the average.
  void missed(std::uint64_t hash) noexcept {
    if (samples(hash)) [[unlikely]]
      accessed(hash, 0);
  }
  /// The key was put or filled: its size is known. No access.
  void stored(std::uint64_t hash, std::uint64_t bytes) noexcept {
    if (samples(hash)) [[unlikely]]
      resized(hash, bytes);
  }
  /// The key was erased or invalidated: the next access is a miss at any capacity.
  void removed(std::uint64_t hash) noexcept {
    if (samples(hash)) [[unlikely]]
      forgotten(hash);
  }

  /// Processes what waits, unless another thread does.
  void drain() noexcept;

  // Reports process what waits first. They wait while another thread does, up to 100 ms, and are empty past that. Not for hot
  // paths: they allocate.

  /// 65 sizes in increasing order, the 33rd being the capacity; the ratio never falls. Empty as long as nothing was sampled.
  [[nodiscard]] std::vector<MissCurvePoint> miss_curve();
  /// The hottest first; at most k and at most 64.
  [[nodiscard]] std::vector<KeyHeat> hottest(std::uint32_t k);
  [[nodiscard]] ProfileStats stats();

  /// The bits of the hash that sampling goes by: other than those that choose the bucket and the tag. Below 2^32.
  [[nodiscard]] static constexpr std::uint64_t mixed(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>((hash * 0x9e3779b97f4a7c15ULL) >> 32);
  }

 private:
  struct State;  // src/profile.cpp

  void accessed(std::uint64_t hash, std::uint64_t bytes) noexcept;
  void resized(std::uint64_t hash, std::uint64_t bytes) noexcept;
  void forgotten(std::uint64_t hash) noexcept;
  void hit(std::uint16_t view, std::string_view key, std::uint64_t hash) noexcept;
  void push(const detail::AccessSample& sample) noexcept;
  /// At most so many samples, unless another thread is at it.
  void process(std::uint32_t samples_max) noexcept;
  void end_turn() noexcept;
  template <class Report>
  auto report(Report&& make);

  std::atomic<std::uint64_t> threshold_{0};
  std::unique_ptr<State> state_;
};

}  // namespace tiercache::l1
