// SPDX-License-Identifier: Apache-2.0
#include <tiercache/invalidation/machine.hpp>

#include <tiercache/base/hash.hpp>
#include <tiercache/base/lab.hpp>

#include <algorithm>

namespace tiercache::invalidation {
namespace {

void bump(std::atomic<std::uint64_t>& counter) noexcept { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

Machine::Machine(const MachineOptions& options, BusSink& sink, std::uint64_t seed)
    : options_(options),
      sink_(sink),
      random_(seed),
      shards_(std::clamp<std::uint32_t>(options.shards, 1, 16384)),
      backoff_(options.backoff_min) {}

Machine::Action Machine::tick(SteadyTime now) {
  switch (state_) {
    case State::waiting:
      if (now < retry_at_) return Action::none;
      state_ = State::connecting;
      return Action::connect;
    case State::connecting: return Action::none;
    case State::subscribing:
    case State::live: return check_silence(now);
  }
  return Action::none;
}

SteadyTime Machine::wake_at() const noexcept {
  switch (state_) {
    case State::waiting: return retry_at_;
    case State::connecting: return SteadyTime::max();
    case State::subscribing: return std::min(give_up_at_, silence_from_);
    case State::live: return silence_from_;
  }
  return SteadyTime::max();
}

SteadyTime Machine::link_due_at() const noexcept {
  if (state_ == State::subscribing) return give_up_at_;
  if (state_ != State::live || lab::ablated(lab::Remedy::heartbeat)) return SteadyTime::max();
  return last_message_ + std::chrono::duration_cast<SteadyTime::duration>(options_.budget);
}

Machine::Action Machine::connected(SteadyTime now) {
  if (state_ != State::connecting) return Action::none;
  bump(counters_.connects);
  state_ = State::subscribing;
  confirmed_ = 0;
  give_up_at_ = now + options_.budget;
  silence_from_ = SteadyTime::max();
  return Action::subscribe;
}

void Machine::subscribed(ShardId id, SteadyTime now) {
  if ((state_ != State::subscribing && state_ != State::live) || id >= shards_.size()) return;
  Shard& shard = shards_[id];
  if (!shard.subscribed) ++confirmed_;
  shard.subscribed = true;
  shard.streaming = false;
  shard.silent = false;
  shard.proven = false;
  shard.told = 0;
  shard.confirmed_at = shard.last_message = last_message_ = now;
  // Silence counts from the confirmation: a link that never carries anything must be noticed too.
  if (!lab::ablated(lab::Remedy::heartbeat)) silence_from_ = std::min(silence_from_, now + options_.budget);
  if (confirmed_ == shards_.size()) {
    state_ = State::live;
    counters_.subscribed.store(true, std::memory_order_relaxed);
  }
  if (shard.has_baseline && options_.replay) {
    shard.floor = shard.baseline;
    sink_.on_epoch(id, 0);
    begin_replay(shard);
  } else {
    shard.has_baseline = false;
    gap(id, GapReason::subscribed);
  }
  if (lab::ablated(lab::Remedy::heartbeat)) sink_.on_coherent(id, SteadyTime::max());
}

std::string_view Machine::message(ShardId id, std::string_view bytes, SteadyTime now) {
  bump(counters_.messages);
  if ((state_ != State::subscribing && state_ != State::live) || id >= shards_.size() || !shards_[id].subscribed) {
    bump(counters_.malformed);  // `subscribed` is still to come for this shard and covers it
    return "channel: not subscribed";
  }
  Shard& shard = shards_[id];
  shard.last_message = last_message_ = now;  // whatever it holds, the link carried it
  if (shard.silent) {
    shard.silent = false;
    silence_from_ = std::min(silence_from_, now + options_.budget);
  }

  const Parsed parsed = parse(bytes);
  if (parsed.status != ParseStatus::ok) {
    bump(counters_.malformed);
    return parsed.problem;
  }
  if (parsed.head.shard != id) {
    bump(counters_.malformed);
    return "shard: not the channel's";
  }
  backoff_ = options_.backoff_min;  // only now: a link that is confirmed and dies at once goes on backing off

  const bool heartbeat = parsed.head.kind == Kind::heartbeat;
  shard.proven = shard.proven || heartbeat;
  if (heartbeat || parsed.head.sequence != 0) check_number(id, shard, parsed.head);
  if (heartbeat) tell_epoch(id, shard);
  apply(id, parsed);
  // While numbers are missing neither a number nor a heartbeat proves anything.
  if ((heartbeat || parsed.head.sequence != 0) && !shard.replaying) sink_.on_applied(id, shard.epoch, shard.baseline);
  if (heartbeat && parsed.head.origin == options_.origin && !shard.replaying) own_heartbeat(id, shard, parsed.head, now);
  if (lab::ablated(lab::Remedy::heartbeat)) sink_.on_coherent(id, SteadyTime::max());
  return {};
}

void Machine::disconnected(SteadyTime now) {
  if (state_ == State::waiting) return;
  counters_.subscribed.store(false, std::memory_order_relaxed);
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    if (shards_[i].subscribed) gap(static_cast<ShardId>(i), GapReason::disconnected);
  }
  wait_to_retry(now);
}

void Machine::beat_sent(ShardId id, std::uint64_t number, SteadyTime at) {
  if (id < shards_.size()) shards_[id].beats[number % beats_kept] = {number, at};
}

Position Machine::applied(ShardId id) const noexcept {
  if (id >= shards_.size() || !shards_[id].subscribed || !shards_[id].has_baseline || shards_[id].replaying) return {};
  return {shards_[id].epoch, shards_[id].baseline};
}

void Machine::gap(ShardId id, GapReason reason) {
  bump(counters_.gaps[static_cast<std::size_t>(reason)]);
  if (!lab::ablated(lab::Remedy::generation)) sink_.on_gap(id, reason);
}

/// A gap goes out before the message is applied: an entry put between the two would belong to neither generation's proof.
void Machine::check_number(ShardId id, Shard& shard, const Head& head) {
  if (!shard.has_baseline) return start_over(id, shard, head);
  if (head.epoch != shard.epoch) {
    gap(id, GapReason::epoch_changed);
    return start_over(id, shard, head);
  }
  const std::uint64_t before = head.kind == Kind::heartbeat ? head.sequence : head.sequence - 1;  // a message's is never 0
  if (before < (shard.streaming ? shard.stream : shard.floor)) {
    gap(id, GapReason::regressed);
    return start_over(id, shard, head);
  }
  if (!shard.streaming || before > shard.stream) shard.needed = before;
  shard.streaming = true;
  shard.stream = head.sequence;
  if (shard.replaying) return;
  if (before <= shard.baseline) {
    shard.baseline = std::max(shard.baseline, shard.stream);  // below: the replay brought it already
  } else if (options_.replay) {
    begin_replay(shard);
  } else {
    gap(id, GapReason::lost);
    shard.baseline = shard.stream;
  }
}

/// All that was before is void, or nothing was; the stream begins with this number.
void Machine::start_over(ShardId id, Shard& shard, const Head& head) {
  if (shard.replaying) {
    bump(counters_.resyncs_voided);
    end_replay(shard);
  }
  shard.has_baseline = shard.streaming = true;
  shard.epoch = head.epoch;
  shard.baseline = shard.stream = shard.needed = head.sequence;
  tell_epoch(id, shard);
}

void Machine::tell_epoch(ShardId id, Shard& shard) {
  if (!shard.proven || shard.replaying || shard.told == shard.epoch) return;
  shard.told = shard.epoch;
  sink_.on_epoch(id, shard.epoch);
}

void Machine::begin_replay(Shard& shard) {
  if (lab::ablated(lab::Remedy::replay)) {
    if (shard.streaming) shard.baseline = shard.stream;
    else shard.has_baseline = false;
    return;
  }
  if (!shard.replaying) ++replaying_;  // a shard may be confirmed again in the midst of it
  shard.replaying = true;
}

void Machine::end_replay(Shard& shard) {
  shard.replaying = false;
  --replaying_;
}

/// The log does not have what is missing. The link's own numbers are without holes from the last one it skipped on.
void Machine::give_up(ShardId id, Shard& shard) {
  bump(counters_.resyncs_voided);
  end_replay(shard);
  gap(id, GapReason::log_lost);
  shard.has_baseline = shard.streaming;
  if (!shard.streaming) return;  // the next number tells the epoch
  shard.baseline = shard.stream;
  tell_epoch(id, shard);
  sink_.on_applied(id, shard.epoch, shard.baseline);
}

std::optional<Machine::Wanted> Machine::wanted(SteadyTime now) noexcept {
  if (replaying_ == 0 || now < ask_from_) return std::nullopt;
  for (std::size_t n = 0; n < shards_.size(); ++n) {
    const std::size_t i = (ask_next_ + n) % shards_.size();
    const Shard& shard = shards_[i];
    if (!shard.replaying) continue;
    ask_next_ = i + 1;
    return Wanted{static_cast<ShardId>(i), shard.epoch, shard.baseline};
  }
  return std::nullopt;
}

bool Machine::page(ShardId id, const Page& page, SteadyTime now) {
  if (id >= shards_.size() || !shards_[id].replaying) return false;
  Shard& shard = shards_[id];
  if (page.state == Page::State::later) {
    // Nothing can become coherent while the path of the heartbeats is down, so there is no hurry; and the link's messages must
    // not wait behind one time-out after the other.
    ask_from_ = now + options_.budget / 20;
    return false;
  }
  bool good = page.state == Page::State::found && page.last >= shard.baseline;
  for (const std::string& bytes : page.messages) good = good && take_logged(id, shard, bytes);
  good = good && shard.baseline <= page.last;  // a log that goes beyond its counter: that has been lost, and says nothing
  // Everything up to page.last was published before the log was asked; what came later is on the link, which began before.
  const std::uint64_t goal = shard.streaming ? shard.needed : page.last;
  if (!good || (shard.baseline < goal && page.messages.empty())) {
    give_up(id, shard);
  } else if (shard.baseline >= goal) {
    bump(counters_.resyncs_replayed);
    end_replay(shard);
    if (shard.streaming) shard.baseline = std::max(shard.baseline, shard.stream);
    shard.proven = true;  // the log's script has compared the run ids
    tell_epoch(id, shard);
    sink_.on_applied(id, shard.epoch, shard.baseline);
  }
  return replaying_ == 0;
}

bool Machine::take_logged(ShardId id, Shard& shard, std::string_view bytes) {
  const Parsed parsed = parse(bytes);
  const Head& head = parsed.head;
  if (parsed.status != ParseStatus::ok || head.shard != id || head.kind == Kind::heartbeat) return false;
  if (head.epoch != shard.epoch || head.sequence != shard.baseline + 1) return false;
  bump(counters_.messages_replayed);
  shard.baseline = head.sequence;
  apply(id, parsed);
  return true;
}

void Machine::apply(ShardId id, const Parsed& parsed) {
  const Head& head = parsed.head;
  hurry_ = hurry_ || head.hurry;
  if (head.kind == Kind::clear_all) sink_.on_clear(id, {}, head.origin, head.number);
  for (const Item item : parsed.items) {
    if (head.kind == Kind::wake) sink_.on_wake(id, item.name);
    else if (head.kind == Kind::clear) sink_.on_clear(id, item.name, head.origin, head.number);
    else sink_.on_invalidate(id, item.name, item.version, head.origin, head.number);
  }
}

void Machine::own_heartbeat(ShardId id, const Shard& shard, const Head& head, SteadyTime now) {
  bump(counters_.heartbeats_seen);
  const Beat& beat = shard.beats[head.number % beats_kept];
  if (head.number == 0 || beat.number != head.number) return;  // overwritten by younger ones, or not ours after all
  if (beat.at < shard.confirmed_at) return;                    // see the head of machine.hpp
  const auto lag = std::chrono::duration_cast<std::chrono::microseconds>(now - beat.at).count();
  counters_.lag.record_us(lag > 0 ? static_cast<std::uint64_t>(lag) : 0);
  sink_.on_coherent(id, beat.at + std::chrono::duration_cast<SteadyTime::duration>(options_.budget));
}

/// One silent shard on a link that speaks is a gap of that shard and no more: its heartbeats cannot be written, and closing the
/// link would void the healthy shards again and again. The link is closed when it carried nothing at all.
Machine::Action Machine::check_silence(SteadyTime now) {
  if (state_ == State::subscribing && now >= give_up_at_) {
    disconnected(now);
    return Action::close;
  }
  if (lab::ablated(lab::Remedy::heartbeat) || now < silence_from_) return Action::none;
  // While it subscribes, the confirmations have a limit of their own.
  const bool speaks = state_ == State::subscribing || now < link_due_at();
  // Before the gaps: whoever hears of one must not read "subscribed".
  if (!speaks) counters_.subscribed.store(false, std::memory_order_relaxed);
  silence_from_ = SteadyTime::max();
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    Shard& shard = shards_[i];
    if (!shard.subscribed) continue;
    const SteadyTime due = shard.last_message + options_.budget;
    if (now < due) {
      silence_from_ = std::min(silence_from_, due);
    } else if (!shard.silent) {
      shard.silent = true;
      gap(static_cast<ShardId>(i), GapReason::silent);
    }
  }
  if (speaks) return Action::none;
  wait_to_retry(now);
  return Action::close;
}

/// Half of each wait is jitter: instances that lost the server together must not come back together.
void Machine::wait_to_retry(SteadyTime now) {
  for (Shard& shard : shards_) shard.subscribed = shard.replaying = false;  // how far each came is kept
  confirmed_ = replaying_ = 0;
  ask_from_ = SteadyTime::min();
  counters_.subscribed.store(false, std::memory_order_relaxed);
  random_ += 0x9e3779b97f4a7c15ULL;
  const auto half = static_cast<std::uint64_t>(backoff_.count()) / 2;
  const Duration wait(static_cast<std::int64_t>(half + mix64(random_) % (half + 1)));
  backoff_ = std::min(backoff_ * 2, options_.backoff_max);
  retry_at_ = now + wait;
  give_up_at_ = silence_from_ = SteadyTime::max();
  state_ = State::waiting;
}

}  // namespace tiercache::invalidation
