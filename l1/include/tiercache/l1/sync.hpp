// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__SANITIZE_THREAD__)
#define TIERCACHE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TIERCACHE_TSAN 1
#endif
#endif

#if defined(__SSE2__) && !defined(TIERCACHE_TSAN)
#define TIERCACHE_SSE2_TAGS 1
#include <emmintrin.h>
#endif

namespace tiercache::l1 {

/// What the kernels (bucket.hpp, the hazard protocol) know of atomics. Every atomic operation, order, fence and tag scan of
/// theirs goes through one such policy, so that the same source also compiles over a model checker's atomics. Nothing here
/// depends on -march: SSE2 is part of x86-64, and other machines take the scalar scan; the layout of memory is the same.
///
/// The asymmetric fence: whoever publishes a hazard runs light_barrier() (a compiler barrier), whoever reclaims runs, or waits
/// for, heavy_barrier() (membarrier, a full fence on every thread of the process), or waits until all threads have come by (see
/// Passing). Where the kernel lacks membarrier both sides run a full fence. TSan understands neither: there the hazard stores and
/// their validating loads are seq_cst operations instead.
struct StdSync {
  template <class T>
  using atomic = std::atomic<T>;

  static constexpr std::memory_order relaxed = std::memory_order_relaxed;
  static constexpr std::memory_order acquire = std::memory_order_acquire;
  static constexpr std::memory_order release = std::memory_order_release;
  static constexpr std::memory_order acq_rel = std::memory_order_acq_rel;
#ifdef TIERCACHE_TSAN
  static constexpr std::memory_order hazard_store = std::memory_order_seq_cst;
  static constexpr std::memory_order hazard_check = std::memory_order_seq_cst;
  static void light_barrier() noexcept {}
  static void quick_barrier() noexcept {}
#else
  static constexpr std::memory_order hazard_store = std::memory_order_release;
  static constexpr std::memory_order hazard_check = std::memory_order_acquire;
  static void light_barrier() noexcept {
    if (asymmetric.load(std::memory_order_relaxed)) [[likely]] {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    }
  }
#endif

  /// light_barrier() for those who know that the fence is asymmetric.
#ifndef TIERCACHE_TSAN
  static void quick_barrier() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }
#endif

  static void full_fence() noexcept {
#ifndef TIERCACHE_TSAN  // there the hazards themselves are seq_cst, and TSan does not know fences
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
  }
  /// False when the fence could not be run (a seccomp filter that came later): then nothing may be freed.
  [[nodiscard]] static bool heavy_barrier() noexcept;
  /// Registers with membarrier; called before the first table exists, so that every reader of a table sees the outcome.
  static void prepare() noexcept;

  /// tag_bits bits, all or none of them set, for each of the eight words of a line whose upper 16 bits equal `tag`. A hint: each
  /// hit is loaded again, atomically.
  [[nodiscard]] static unsigned match_tags(const std::atomic<std::uint64_t>* words, std::uint16_t tag) noexcept {
#ifdef TIERCACHE_SSE2_TAGS
    const auto* p = reinterpret_cast<const __m128i*>(words);
    // The high halves of two words each, arithmetically shifted so that the saturating pack keeps all 16 bits as they are.
    const auto high = [](__m128i a, __m128i b) noexcept {
      return _mm_srai_epi32(_mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), _MM_SHUFFLE(3, 1, 3, 1))),
                            16);
    };
    const __m128i tags =
        _mm_packs_epi32(high(_mm_load_si128(p), _mm_load_si128(p + 1)), high(_mm_load_si128(p + 2), _mm_load_si128(p + 3)));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi16(tags, _mm_set1_epi16(static_cast<short>(tag)))));
#else
    unsigned mask = 0;
    for (unsigned i = 0; i < 8; ++i) {
      mask |= static_cast<unsigned>((words[i].load(std::memory_order_relaxed) >> 48) == tag) << i;
    }
    return mask;
#endif
  }

#ifdef TIERCACHE_SSE2_TAGS
  static constexpr unsigned tag_bits = 2;
#else
  static constexpr unsigned tag_bits = 1;
#endif

  /// Whether quick_barrier() is enough.
  [[nodiscard]] static bool quick() noexcept {
#ifdef TIERCACHE_TSAN
    return true;
#else
    return asymmetric.load(std::memory_order_relaxed);
#endif
  }

  inline static std::atomic<bool> asymmetric{false};
};

/// Has the line under way, for this processor alone: one that another wrote last would else come shared, and the write would have
/// to ask again. For any address. Compilers turn __builtin_prefetch(p, 1) into a read's prefetch unless told of the processor;
/// those of x86-64 that lack this instruction take it for none.
inline void prefetch_to_write(const void* p) noexcept {
#ifdef __x86_64__
  asm("prefetchw %0" : : "m"(*static_cast<const char*>(p)));
#else
  __builtin_prefetch(p, 1);
#endif
}

}  // namespace tiercache::l1
