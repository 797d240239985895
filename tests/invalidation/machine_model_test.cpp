// SPDX-License-Identifier: Apache-2.0
//
// The machine against a model of Redis in virtual time: writes, heartbeats, links that are cut, stopped, lose, repeat and reorder
// messages, servers that start over. The model knows what was published when; the machine must never claim more than it can know.
#include <tiercache/base/lab.hpp>
#include <tiercache/invalidation/machine.hpp>

#include <gtest/gtest.h>

#include <charconv>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace tiercache::invalidation {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::uint64_t me = 111;
constexpr std::uint64_t other = 222;
constexpr Duration budget = milliseconds(2000);

/// One server, one link, one machine, one shard. Each event has a time of its own, so that times order events.
class World final : public BusSink {
 public:
  explicit World(std::uint64_t seed)
      : random_(seed), machine_({0, me, budget, milliseconds(50), milliseconds(2000)}, *this, seed) {}

  void run(int steps, bool faults) {
    for (int i = 0; i < steps && violation_.empty(); ++i) {
      now_ += microseconds(1 + pick(faults ? 60'000 : 20'000));
      serve_machine();
      step(faults);
      check_promise();
    }
  }

  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] bool coherent_now() const { return now_ < until_; }
  [[nodiscard]] std::size_t claims() const { return claims_; }
  [[nodiscard]] const MachineCounters& counters() const { return machine_.counters(); }

  void on_invalidate(ShardId, std::string_view key, std::uint64_t, std::uint64_t, std::uint64_t) noexcept override {
    std::uint64_t id = 0;
    std::from_chars(key.data() + 1, key.data() + key.size(), id);
    missing_.erase(id);
  }
  void on_clear(ShardId, std::string_view, std::uint64_t, std::uint64_t) noexcept override {}
  // Voids what was read before, and so covers all that is published by now.
  void on_gap(ShardId, GapReason) noexcept override { missing_.clear(); }
  void on_epoch(ShardId, std::uint64_t) noexcept override {}
  void on_coherent(ShardId, SteadyTime until) noexcept override {
    ++claims_;
    until_ = until;
    const SteadyTime sent = until == SteadyTime::max() ? now_ - budget : until - budget;
    if (!missing_.empty() && missing_.begin()->second < sent) {
      violation_ = "claimed, but message " + std::to_string(missing_.begin()->first) + " is older than the heartbeat";
    }
  }

 private:
  struct Sent {
    std::string bytes;
    bool numbered = true;
  };
  struct PendingBeat {
    SteadyTime due;
    std::uint64_t number;
  };

  std::uint64_t pick(std::uint64_t n) { return random_() % n; }

  void step(bool faults) {
    const std::uint64_t dice = pick(100);
    if (dice < 25) return write(faults);
    if (dice < 45) return beat(faults);
    if (dice < 60) return foreign_beat();
    if (dice < 92 || !faults) {
      for (std::uint64_t n = pick(6); n > 0 || !faults; --n) {
        if (!deliver()) return;
      }
      return;
    }
    switch (pick(9)) {
      case 0: cut(); break;
      case 1: stopped_ = !stopped_; break;                                      // half open: the link stands and carries nothing
      case 2: epoch_ = random_(), sequence_ = 0; break;                         // counters lost, links stand
      case 3: cut(), epoch_ = random_(), sequence_ = 0, beats_.clear(); break;  // a restart
      case 4: cut(), sequence_ -= std::min<std::uint64_t>(sequence_, pick(5)); break;  // an older snapshot that kept its epoch
      case 5: refuses_ = !refuses_; break;
      case 6: lose(); break;
      case 7: repeat(); break;
      default: swap(); break;
    }
  }

  void serve_machine() {
    for (std::size_t i = 0; i < beats_.size();) {  // requests under way arrive at their own time, in any order
      if (beats_[i].due > now_) {
        ++i;
        continue;
      }
      publish({encode({Kind::heartbeat, 0, epoch_, sequence_, me, beats_[i].number}, {}), true});
      beats_.erase(beats_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    switch (machine_.tick(now_)) {
      case Machine::Action::connect:
        if (refuses_) return machine_.disconnected(now_);
        if (machine_.connected(now_) == Machine::Action::subscribe) {
          linked_ = true;
          confirmed_ = stopped_ = based_ = false;
          confirm_after_ = now_ + milliseconds(pick(300));
          queue_.clear();
        }
        break;
      case Machine::Action::close: linked_ = false; break;
      default: break;
    }
  }

  void write(bool faults) {
    const std::uint64_t id = ++last_id_;
    const std::string key = "k" + std::to_string(id);
    const std::vector<Item> items{{key, 0}};
    const bool numbered = !faults || pick(20) != 0;
    missing_.emplace(id, now_);
    publish({encode({Kind::invalidate, 0, epoch_, numbered ? ++sequence_ : 0, other, id}, items), numbered});
  }
  void beat(bool faults) {
    machine_.beat_sent(0, ++beat_, now_);
    if (faults && pick(5) == 0) return;  // the request fails
    beats_.push_back({now_ + microseconds(pick(faults ? 400'000 : 2'000)), beat_});
  }
  void foreign_beat() { publish({encode({Kind::heartbeat, 0, epoch_, sequence_, other, 1}, {}), true}); }

  /// SUBSCRIBE took effect when the link was made; the confirmation comes later, the stream begins at once behind it.
  void publish(Sent sent) {
    if (linked_) queue_.push_back(std::move(sent));
  }
  bool deliver() {
    if (!linked_ || stopped_) return false;
    if (!confirmed_) {
      if (now_ < confirm_after_) return false;
      confirmed_ = true;
      machine_.subscribed(0, now_);
    }
    if (queue_.empty()) return false;
    const Sent sent = std::move(queue_.front());
    queue_.pop_front();
    machine_.message(0, sent.bytes, now_);
    based_ = based_ || sent.numbered;
    return true;
  }
  void cut() {
    if (linked_) machine_.disconnected(now_);
    linked_ = false;
  }
  // A single node does none of these three; a cluster's bus may. What bears no number cannot be checked and so is spared, and so
  // is what comes before the first number of a subscription: there the machine relies on the stream being without holes.
  void lose() {
    if (based_ && !queue_.empty() && queue_.front().numbered) queue_.pop_front();
  }
  void repeat() {
    if (!queue_.empty() && queue_.front().numbered) queue_.push_back(queue_.front());
  }
  void swap() {
    if (based_ && queue_.size() >= 2 && queue_[0].numbered && queue_[1].numbered) std::swap(queue_[0], queue_[1]);
  }

  /// The promise itself: while a claim stands, nothing older than the budget is missing.
  void check_promise() {
    if (violation_.empty() && now_ < until_ && !missing_.empty() && missing_.begin()->second < now_ - budget) {
      violation_ = "coherent, but message " + std::to_string(missing_.begin()->first) + " is missing for longer than the budget";
    }
  }

  std::mt19937_64 random_;
  SteadyTime now_{std::chrono::seconds(100)};
  SteadyTime until_ = SteadyTime::min();
  std::map<std::uint64_t, SteadyTime> missing_;  ///< message -> when published; not applied, and no gap since
  std::string violation_;
  std::size_t claims_ = 0;

  std::uint64_t epoch_ = 77;
  std::uint64_t sequence_ = 0;
  std::uint64_t last_id_ = 0;
  std::uint64_t beat_ = 0;
  std::vector<PendingBeat> beats_;
  std::deque<Sent> queue_;
  bool linked_ = false;
  bool confirmed_ = false;
  bool stopped_ = false;
  bool based_ = false;
  bool refuses_ = false;
  SteadyTime confirm_after_{};
  Machine machine_;

 public:
  void heal() { stopped_ = refuses_ = false; }
};

class MachineModel : public ::testing::Test {
 protected:
  ~MachineModel() override { lab::ablated_mask.store(0); }
  static std::uint64_t first_seed() {
    static const std::uint64_t seed = std::random_device{}();
    return seed;
  }
  static std::size_t violations(std::size_t seeds) {
    std::size_t found = 0;
    for (std::size_t i = 0; i < seeds; ++i) {
      World world(first_seed() + i);
      world.run(400, true);
      found += !world.violation().empty();
    }
    return found;
  }
};

TEST_F(MachineModel, NothingIsClaimedThatWasNotAppliedOrVoidedAndAHealedLinkIsCoherentAgain) {
  std::size_t claims = 0;
  std::array<std::uint64_t, gap_reason_count> gaps{};
  for (std::size_t i = 0; i < 10'000; ++i) {
    const std::uint64_t seed = first_seed() + i;
    World world(seed);
    world.run(400, true);
    ASSERT_EQ(world.violation(), "") << "seed " << seed;
    world.heal();
    world.run(600, false);  // about six seconds: silence to be noticed, the longest back-off, a heartbeat
    ASSERT_EQ(world.violation(), "") << "seed " << seed;
    ASSERT_TRUE(world.coherent_now()) << "seed " << seed;
    claims += world.claims();
    for (std::size_t r = 0; r < gaps.size(); ++r) gaps[r] += world.counters().gaps[r].load();
  }
  EXPECT_GT(claims, 100'000U);  // the worlds were worth living in: claims were made, gaps of each kind happened
  for (std::size_t r = 0; r < gaps.size(); ++r) EXPECT_GT(gaps[r], 1000U) << name(static_cast<GapReason>(r));
}

TEST_F(MachineModel, WithoutGenerationsTheModelFindsStaleClaims) {
  lab::ablate(lab::Remedy::generation);
  EXPECT_GT(violations(300), 100U) << "seed " << first_seed();
}

TEST_F(MachineModel, WithoutHeartbeatsTheModelFindsStaleClaims) {
  lab::ablate(lab::Remedy::heartbeat);
  EXPECT_GT(violations(300), 100U) << "seed " << first_seed();
}

}  // namespace
}  // namespace tiercache::invalidation
