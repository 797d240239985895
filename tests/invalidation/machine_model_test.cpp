// SPDX-License-Identifier: Apache-2.0
//
// The machine against a model of Redis in virtual time: writes, heartbeats, links that are cut, stopped, lose, repeat and reorder
// messages, servers that start over, lose their counters or their log. The model knows what was published when; the machine must
// never claim more than it can know.
#include <tiercache/base/lab.hpp>
#include <tiercache/invalidation/machine.hpp>

#include <gtest/gtest.h>

#include <algorithm>
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

enum class Log : bool { none, kept };

/// One server, one link, one machine, one shard. Each event has a time of its own, so that times order events.
class World final : public BusSink {
 public:
  explicit World(std::uint64_t seed, Log log)
      : random_(seed),
        logs_(log == Log::kept),
        log_most_(2 + pick(100)),
        machine_({0, me, budget, milliseconds(50), milliseconds(2000), logs_}, *this, seed) {}

  void run(int steps, bool faults) {
    calm_ = !faults;
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
  // Voids what was read before, and so covers all that is published by now. A link that ended or is silent voids nothing yet.
  void on_gap(ShardId, GapReason reason) noexcept override {
    if (reason != GapReason::disconnected && reason != GapReason::silent) missing_.clear();
  }
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
    switch (pick(logs_ ? 11 : 9)) {
      case 0: cut(); break;
      case 1: stopped_ = !stopped_; break;                  // half open: the link stands and carries nothing
      case 2: begin_epoch(); break;                         // counters lost, links stand
      case 3: cut(), begin_epoch(), beats_.clear(); break;  // a restart
      case 4: cut(), older_snapshot(); break;
      case 5: refuses_ = !refuses_; break;
      case 6: lose(); break;
      case 7: repeat(); break;
      case 9: log_.clear(); break;       // evicted
      case 10: forget_counter(); break;  // evicted
      default: swap(); break;
    }
  }

  void serve_machine() {
    for (std::size_t i = 0; i < beats_.size();) {  // requests under way arrive at their own time, in any order
      if (beats_[i].due > now_) {
        ++i;
        continue;
      }
      beat_arrives(me, beats_[i].number);
      beats_.erase(beats_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    switch (machine_.tick(now_)) {
      case Machine::Action::connect:
        if (refuses_) return machine_.disconnected(now_);
        if (machine_.connected(now_) == Machine::Action::subscribe) {
          linked_ = true;
          confirmed_ = stopped_ = based_ = holes_ = forgot_ = false;
          confirm_after_ = now_ + milliseconds(pick(300));
          queue_.clear();
        }
        break;
      case Machine::Action::close: linked_ = false; break;
      default: break;
    }
    if (const auto wanted = machine_.wanted(now_)) serve_log(*wanted);
  }

  /// The answer is of the instant of the question; messages may be read from the link before it is handed over.
  void serve_log(const Machine::Wanted& wanted) {
    Machine::Page page;
    std::vector<std::string> messages;
    const bool answers = calm_ || (!refuses_ && pick(4) != 0);
    if (answers) {
      page.state = Machine::Page::State::lost;
      const auto from = std::find_if(log_.begin(), log_.end(), [&](const Entry& e) { return e.number == wanted.from; });
      const bool counted = sequence_ > 0 || begun_;  // else the counter is gone
      if (wanted.epoch == epoch_ && !other_run_ && counted && sequence_ >= wanted.from && from != log_.end()) {
        page.state = Machine::Page::State::found;
        page.last = sequence_;
        const std::uint64_t most = 1 + pick(4);
        for (auto e = from + 1; e != log_.end() && messages.size() < most; ++e) messages.push_back(e->bytes);
        page.messages = messages;
      }
    }
    for (std::uint64_t n = pick(3); n > 0 && deliver(); --n) {
    }
    machine_.page(wanted.shard, page, now_);
  }

  // What the scripts do.
  void begin_epoch() {
    epoch_ = random_();
    sequence_ = 0;
    other_run_ = false;
    begun_ = true;
    log_.assign(1, Entry{0, {}});
  }
  void older_snapshot() {
    const std::uint64_t back = std::min<std::uint64_t>(sequence_, pick(5));
    sequence_ -= back;
    while (!log_.empty() && log_.back().number > sequence_) log_.pop_back();
    other_run_ = logs_;  // without a log the machine must not need to be told
  }
  void drop_log_now() {
    if (pick(2) == 0) log_.clear();
  }
  void beat_arrives(std::uint64_t origin, std::uint64_t number) {
    if (other_run_) begin_epoch();
    publish({encode({Kind::heartbeat, 0, epoch_, sequence_, origin, number}, {}), true});
  }
  /// The number of a message that is about to be published.
  std::uint64_t give_number() {
    ++sequence_;
    const bool again = (sequence_ == 1 && !begun_) || (!log_.empty() && log_.back().number >= sequence_);
    begun_ = false;
    if (logs_ && again) {
      epoch_ = random_();
      log_.clear();
    }
    return sequence_;
  }
  void log(const std::string& bytes) {
    log_.push_back({sequence_, pick(50) == 0 ? std::string() : bytes});  // now and then one that is too long
    if (log_.size() > log_most_) log_.pop_front();
  }

  void write(bool faults) {
    const std::uint64_t id = ++last_id_;
    const std::string key = "k" + std::to_string(id);
    const std::vector<Item> items{{key, 0}};
    const bool numbered = !faults || pick(20) != 0;
    missing_.emplace(id, now_);
    const std::uint64_t number = numbered ? give_number() : 0;
    const std::string bytes = encode({Kind::invalidate, 0, epoch_, number, other, id}, items);
    if (numbered) log(bytes);
    else log_.clear();
    publish({bytes, numbered});
  }
  void beat(bool faults) {
    machine_.beat_sent(0, ++beat_, now_);
    if (faults && pick(5) == 0) return;  // the request fails
    beats_.push_back({now_ + microseconds(pick(faults ? 400'000 : 2'000)), beat_});
  }
  void foreign_beat() { beat_arrives(other, 1); }

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
  // A number that was lost, or comes late, shows at the next one. Not so if the counter is lost besides, and gives it a second
  // time, or tells in a heartbeat that it was never given: no number can tell these two apart, so a link has one of them at most.
  void lose() {
    if (!based_ || forgot_ || queue_.empty() || !queue_.front().numbered) return;
    queue_.pop_front();
    holes_ = true;
  }
  void forget_counter() {
    if (holes_) return;
    sequence_ = 0;
    begun_ = false;
    forgot_ = linked_;
    drop_log_now();
  }
  void repeat() {
    if (!queue_.empty() && queue_.front().numbered) queue_.push_back(queue_.front());
  }
  void swap() {
    if (!based_ || forgot_ || queue_.size() < 2 || !queue_[0].numbered || !queue_[1].numbered) return;
    std::swap(queue_[0], queue_[1]);
    holes_ = true;
  }

  /// The promise itself: while a claim stands, nothing older than the budget is missing.
  void check_promise() {
    if (violation_.empty() && now_ < until_ && !missing_.empty() && missing_.begin()->second < now_ - budget) {
      violation_ = "coherent, but message " + std::to_string(missing_.begin()->first) + " is missing for longer than the budget";
    }
  }

  struct Entry {
    std::uint64_t number = 0;
    std::string bytes;
  };

  std::mt19937_64 random_;
  const bool logs_;
  const std::size_t log_most_;
  std::deque<Entry> log_{Entry{}};
  bool begun_ = true;       ///< the counter's 0 is one that a heartbeat set
  bool other_run_ = false;  ///< no heartbeat has noticed the restart yet
  bool calm_ = false;
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
  bool holes_ = false;   ///< this link has lost a number, or one comes late
  bool forgot_ = false;  ///< the counter was lost since this link was made
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
  static std::size_t violations(std::size_t seeds, Log log) {
    std::size_t found = 0;
    for (std::size_t i = 0; i < seeds; ++i) {
      World world(first_seed() + i, log);
      world.run(400, true);
      found += !world.violation().empty();
    }
    return found;
  }
};

class MachineModelOf : public MachineModel, public ::testing::WithParamInterface<Log> {};

TEST_P(MachineModelOf, NothingIsClaimedThatWasNotAppliedOrVoidedAndAHealedLinkIsCoherentAgain) {
  const bool logs = GetParam() == Log::kept;
  std::size_t claims = 0;
  std::array<std::uint64_t, gap_reason_count> gaps{};
  std::uint64_t replayed = 0;
  std::uint64_t messages = 0;
  for (std::size_t i = 0; i < 10'000; ++i) {
    const std::uint64_t seed = first_seed() + i;
    World world(seed, GetParam());
    world.run(400, true);
    ASSERT_EQ(world.violation(), "") << "seed " << seed;
    world.heal();
    world.run(600, false);  // about six seconds: silence to be noticed, the longest back-off, a heartbeat
    ASSERT_EQ(world.violation(), "") << "seed " << seed;
    ASSERT_TRUE(world.coherent_now()) << "seed " << seed;
    claims += world.claims();
    for (std::size_t r = 0; r < gaps.size(); ++r) gaps[r] += world.counters().gaps[r].load();
    replayed += world.counters().resyncs_replayed.load();
    messages += world.counters().messages_replayed.load();
  }
  EXPECT_GT(claims, 100'000U);  // the worlds were worth living in: claims were made, gaps of each kind happened
  for (std::size_t r = 0; r < gaps.size(); ++r) {
    const auto reason = static_cast<GapReason>(r);
    // A flush is tracking's to tell.
    const bool possible = reason != (logs ? GapReason::lost : GapReason::log_lost) && reason != GapReason::flushed;
    EXPECT_EQ(gaps[r] > 1000, possible) << name(reason) << " " << gaps[r];
  }
  EXPECT_EQ(replayed > 3000, logs) << replayed;
  EXPECT_EQ(messages > 10000, logs) << messages;
}
INSTANTIATE_TEST_SUITE_P(Logs, MachineModelOf, ::testing::Values(Log::none, Log::kept),
                         [](const auto& mode) { return mode.param == Log::kept ? "WithALog" : "WithoutALog"; });

TEST_F(MachineModel, WithoutGenerationsTheModelFindsStaleClaims) {
  lab::ablate(lab::Remedy::generation);
  EXPECT_GT(violations(300, Log::none), 100U) << "seed " << first_seed();
  EXPECT_GT(violations(300, Log::kept), 100U) << "seed " << first_seed();
}

TEST_F(MachineModel, WithoutTheReplayTheModelFindsStaleClaims) {
  lab::ablate(lab::Remedy::replay);
  EXPECT_GT(violations(300, Log::kept), 100U) << "seed " << first_seed();
}

TEST_F(MachineModel, WithoutHeartbeatsTheModelFindsStaleClaims) {
  lab::ablate(lab::Remedy::heartbeat);
  EXPECT_GT(violations(300, Log::none), 100U) << "seed " << first_seed();
}

}  // namespace
}  // namespace tiercache::invalidation
