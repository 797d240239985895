// SPDX-License-Identifier: Apache-2.0
#include <tiercache/l1/profile.hpp>

#include "hot_keys.hpp"
#include "miss_curve.hpp"
#include "sample_ring.hpp"

#include <tiercache/base/hash.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>

namespace tiercache::l1 {

namespace detail {

struct AccessSample {
  enum class Kind : std::uint16_t { access, repeat, resize, remove };
  std::uint64_t hash = 0;
  std::uint32_t bytes = 0;
  std::uint16_t times = 1;  // accesses it stands for
  Kind kind = Kind::access;
};

thread_local constinit ThreadSampling tls_sampling;

}  // namespace detail

namespace {

using detail::AccessSample;

constexpr std::uint32_t access_cells = 64;
constexpr std::uint32_t hit_cells = 16;
constexpr std::uint32_t pushes_per_turn = 16;
constexpr std::uint32_t samples_per_turn = 64;
constexpr std::uint32_t repeats_max = 255;

struct alignas(64) Stripe {
  SampleRing<AccessSample, access_cells> accesses;
  alignas(64) SampleRing<HitSample, hit_cells> hits;
  alignas(64) std::atomic<std::uint64_t> lost_accesses{0};  // not taken off the curve's expectation yet
  std::atomic<std::uint64_t> lost{0};
};

std::atomic<std::uint32_t> profiles{0};
std::atomic<std::uint32_t> threads{0};

/// Threads are numbered as they come, so that they spread evenly. The thread's seed comes with its number.
std::uint32_t stripe_number() noexcept {
  detail::ThreadSampling& own = detail::tls_sampling;
  if (own.stripe == ~std::uint32_t{0}) [[unlikely]] {
    own.stripe = threads.fetch_add(1, std::memory_order_relaxed) & 0xffff;
    own.random = mix64(own.stripe + 1);
  }
  return own.stripe;
}

std::uint32_t as_bytes(std::uint64_t bytes) noexcept {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, ~std::uint32_t{0}));
}

}  // namespace

struct Profile::State {
  std::uint32_t id = 0;
  std::uint32_t hit_interval = 0;
  std::uint32_t stripe_count = 0;
  std::uint64_t bytes = 0;
  std::unique_ptr<Stripe[]> stripes;

  // Of the thread that holds `processing`.
  alignas(64) std::atomic_flag processing;
  std::uint32_t turn = 0;
  std::uint64_t samples = 0;
  MissCurve curve;
  HotKeys hot;

  [[nodiscard]] Stripe& own_stripe() noexcept { return stripes[stripe_number() & (stripe_count - 1)]; }
  [[nodiscard]] bool take_turn() noexcept {
    // (44) acquire: pairs with (45), what the holder before wrote. Looked at first: while one processes, the others write
    // nothing.
    return !processing.test(std::memory_order_relaxed) && !processing.test_and_set(std::memory_order_acquire);
  }
  void end_turn() noexcept { processing.clear(std::memory_order_release); }  // (45)
  /// At most so many samples; the number of them.
  std::uint32_t process(std::uint32_t samples_max) noexcept;

  void apply(const AccessSample& sample) noexcept {
    switch (sample.kind) {
      case AccessSample::Kind::access: return curve.access(sample.hash, sample.bytes);
      case AccessSample::Kind::repeat: return curve.repeat(sample.hash, sample.times);
      case AccessSample::Kind::resize: return curve.resize(sample.hash, sample.bytes);
      case AccessSample::Kind::remove: return curve.remove(sample.hash);
    }
  }
};

Profile::Profile() noexcept = default;
Profile::~Profile() = default;

bool Profile::create(const ProfileOptions& options) noexcept {
  const std::uint64_t memory = options.memory_max_bytes != 0 ? options.memory_max_bytes : options.capacity_bytes / 64;
  struct Shape {
    std::uint32_t samples;
    std::uint32_t stripes;
    std::uint32_t sets;
    [[nodiscard]] std::uint64_t bytes() const noexcept {
      return sizeof(State) + stripes * sizeof(Stripe) + HotKeys::bytes_needed(sets) + MissCurve::bytes_needed(samples);
    }
  };
  Shape shape{std::bit_floor(std::clamp(options.samples_max, 256U, 1U << 16)), 16, 64};
  while (shape.bytes() > memory) {
    if (shape.samples == 256 && shape.stripes == 4) return true;
    shape.samples = std::max(shape.samples / 2, 256U);
    if (shape.samples <= 2048) shape.stripes = 4, shape.sets = 16;
  }
  std::unique_ptr<State> state(new (std::nothrow) State);
  if (state == nullptr) return false;
  state->stripes.reset(new (std::nothrow) Stripe[shape.stripes]);
  ProfileOptions fitted = options;
  fitted.samples_max = shape.samples;
  if (state->stripes == nullptr || !state->curve.create(fitted) || !state->hot.create(shape.sets, options.hot_half_life)) {
    return false;
  }
  state->id = profiles.fetch_add(1, std::memory_order_relaxed) + 1;
  state->hit_interval = std::max(options.hit_interval, 1U);
  state->stripe_count = shape.stripes;
  state->bytes = shape.bytes();
  threshold_.store(state->curve.threshold(), std::memory_order_relaxed);
  state_ = std::move(state);
  return true;
}

std::uint64_t Profile::table_bytes() const noexcept { return state_ != nullptr ? state_->bytes : 0; }

void Profile::push(const AccessSample& sample) noexcept {
  Stripe& stripe = state_->own_stripe();
  std::uint32_t index = 0;
  if (!stripe.accesses.push(sample, index)) {
    stripe.lost.fetch_add(1, std::memory_order_relaxed);
    stripe.lost_accesses.fetch_add(sample.times, std::memory_order_relaxed);
  }
  if (index % pushes_per_turn == pushes_per_turn - 1) process(samples_per_turn);
}

void Profile::accessed(std::uint64_t hash, std::uint64_t bytes) noexcept {
  // A key that this thread sampled a moment ago is counted here and reported once for many times: threads that read the same hot
  // key would otherwise write to their stripe at each read.
  detail::RecentAccess& recent = detail::tls_sampling.recent[(hash >> 40) & 3];
  const bool ours = recent.profile == state_->id;
  if (ours && recent.hash == hash) {
    if (++recent.repeats < repeats_max) return;
    recent.repeats = 0;
    return push({hash, 0, repeats_max, AccessSample::Kind::repeat});
  }
  const detail::RecentAccess before = recent;
  recent = {hash, state_->id, 0};
  if (ours && before.repeats != 0) {
    push({before.hash, 0, static_cast<std::uint16_t>(before.repeats), AccessSample::Kind::repeat});
  }
  push({hash, as_bytes(bytes), 1, AccessSample::Kind::access});
}

void Profile::resized(std::uint64_t hash, std::uint64_t bytes) noexcept {
  push({hash, as_bytes(bytes), 0, AccessSample::Kind::resize});
}

void Profile::forgotten(std::uint64_t hash) noexcept {
  detail::RecentAccess& recent = detail::tls_sampling.recent[(hash >> 40) & 3];
  if (recent.profile == state_->id && recent.hash == hash) recent = {};
  push({hash, 0, 0, AccessSample::Kind::remove});
}

void Profile::hit(std::uint16_t view, std::string_view key, std::uint64_t hash) noexcept {
  detail::ThreadSampling& own = detail::tls_sampling;
  if (state_ == nullptr) {
    own.gap = 64;  // of all profiles: those of other tables are not to starve
    return;
  }
  Stripe& stripe = state_->own_stripe();
  // Random gaps: a fixed one could beat in time with a loop over keys and see always the same one.
  own.random = own.random * 6364136223846793005ULL + 1442695040888963407ULL;
  own.gap = 1 + static_cast<std::uint32_t>((own.random >> 33) % (2 * std::uint64_t{state_->hit_interval} - 1));
  HitSample sample;
  sample.hash = hash;
  sample.view = view;
  sample.truncated = key.size() > HitSample::key_bytes;
  sample.length = static_cast<std::uint8_t>(std::min(key.size(), HitSample::key_bytes));
  std::memcpy(sample.key, key.data(), sample.length);
  std::uint32_t index = 0;
  if (!stripe.hits.push(sample, index)) stripe.lost.fetch_add(1, std::memory_order_relaxed);
  if (index % (pushes_per_turn / 2) == 0) process(samples_per_turn);
}

std::uint32_t Profile::State::process(std::uint32_t samples_max) noexcept {
  AccessSample access;
  HitSample hit;
  std::uint32_t done = 0;
  // One sample of each stripe in turn keeps them about in the order in which they came.
  for (std::uint32_t idle = 0; done < samples_max && idle < stripe_count;) {
    ++idle;
    Stripe& stripe = stripes[turn++ & (stripe_count - 1)];
    if (stripe.lost_accesses.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      curve.lose(stripe.lost_accesses.exchange(0, std::memory_order_relaxed));
    }
    if (stripe.accesses.pop(access)) apply(access), ++done, idle = 0;
    if (stripe.hits.pop(hit)) hot.add(hit), ++done, idle = 0;
  }
  samples += done;
  return done;
}

void Profile::process(std::uint32_t samples_max) noexcept {
  if (!state_->take_turn()) return;
  state_->process(samples_max);
  end_turn();
}

void Profile::end_turn() noexcept {
  const std::uint64_t threshold = state_->curve.threshold();
  // Written only when it moved: every access reads it.
  if (threshold_.load(std::memory_order_relaxed) != threshold) threshold_.store(threshold, std::memory_order_relaxed);
  state_->end_turn();
}

void Profile::drain() noexcept {
  if (state_ != nullptr) process(state_->stripe_count * (access_cells + hit_cells));
}

template <class Report>
auto Profile::report(Report&& make) {
  decltype(make(*state_)) empty{};
  if (state_ == nullptr) return empty;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
  while (!state_->take_turn()) {
    if (std::chrono::steady_clock::now() > deadline) return empty;
    std::this_thread::yield();
  }
  struct Turn {  // the report allocates, which may throw
    Profile& profile;
    ~Turn() { profile.end_turn(); }
  } turn{*this};
  state_->process(state_->stripe_count * (access_cells + hit_cells));
  return make(*state_);
}

std::vector<MissCurvePoint> Profile::miss_curve() {
  return report([](State& state) { return state.curve.curve(); });
}

std::vector<KeyHeat> Profile::hottest(std::uint32_t k) {
  return report([k](State& state) { return state.hot.hottest(k); });
}

ProfileStats Profile::stats() {
  return report([](State& state) {
    std::uint64_t lost = 0;
    for (std::uint32_t i = 0; i < state.stripe_count; ++i) lost += state.stripes[i].lost.load(std::memory_order_relaxed);
    return ProfileStats{state.curve.rate(), state.curve.sampled_keys(), state.samples, lost};
  });
}

}  // namespace tiercache::l1
