// SPDX-License-Identifier: Apache-2.0
#include "faults.hpp"

#include <algorithm>

namespace tiercache::demo {
namespace {

constexpr std::int64_t reader_budgets = 3;
// After the recovery L1 fills again before the next bus fault: on an empty L1 it would show nothing.
constexpr std::int64_t warm_ns = 1500 * ns_per_ms;

std::int64_t warm_start(std::int64_t duration) noexcept { return duration == 0 ? warm_ns : std::min(warm_ns, duration / 10); }
std::int64_t gap(std::int64_t budget) noexcept { return budget * 4 / 5; }

}  // namespace

std::int64_t Faults::duration_min(std::int64_t budget) noexcept {
  // The start (a tenth of the run), a stopped reader, a gap and a cut link must fit into the first half.
  const std::int64_t faults = reader_budgets * budget + gap(budget) + budget / 2 + 50 * ns_per_ms;  // and some for late turns
  return std::max(5 * ns_per_s, faults * 10 / 4);
}

std::int64_t Faults::downtime() const noexcept {
  constexpr std::int64_t full = 3 * ns_per_s;
  return times_.duration == 0 ? full : std::min(full, times_.duration * 3 / 10);
}

void Faults::turn(std::int64_t since_start, std::int64_t now, double fraction) {
  if (next_bus_ < 0) next_bus_ = now - since_start + warm_start(times_.duration);
  turn_redis(now, fraction);
  turn_bus(since_start, now);
}

void Faults::turn_redis(std::int64_t now, double fraction) {
  switch (redis_) {
    case Redis::up:
      if (!on_.kill_redis || fraction < 0.5) return;
      end_bus_fault();
      on_.fault_on(true);
      on_.kill_redis();
      redis_ = Redis::down;
      redis_change_ = now;
      killed_at_ = fraction;
      ++counts_.redis_killed;
      return;
    case Redis::down:
      if (now - redis_change_ >= downtime()) start();
      return;
    case Redis::recovering:
      if (const std::int64_t valid = on_.coherent_since(); valid == 0) return;
      else recovery_ms_ = static_cast<double>(std::max<std::int64_t>(0, valid - redis_change_)) / 1e6;
      redis_ = Redis::recovered;
      recovered_at_ = fraction;
      next_bus_ = now + warm_ns;
      on_.fault_on(false);
      return;
    case Redis::recovered: return;
  }
}

void Faults::start() {
  on_.start_redis();
  redis_ = Redis::recovering;
  redis_change_ = now_ns();  // the call above took its time
}

std::int64_t Faults::room(std::int64_t since_start) const noexcept {
  if (times_.duration == 0) return reader_budgets * times_.budget;
  const bool before_kill = redis_ == Redis::up && on_.kill_redis;
  // At the end the last bus fault gets time to show: what it left in L1 is read for more than a budget.
  return (before_kill ? times_.duration / 2 : times_.duration - 2 * times_.budget) - since_start;
}

void Faults::turn_bus(std::int64_t since_start, std::int64_t now) {
  if (now < next_bus_ || redis_ == Redis::down || redis_ == Redis::recovering) return;
  if (bus_ != Bus::idle) {
    end_bus_fault();
    next_bus_ = now + gap(times_.budget);
    return;
  }
  const std::int64_t stop_length = reader_budgets * times_.budget;
  if (step_ == 0 && stop_length > room(since_start)) step_ = 1;  // a cut may fit where a stop does not
  const std::int64_t length = step_ == 0 ? stop_length : times_.budget / 2;
  if (length > room(since_start)) return;
  if (step_ == 0) {
    bus_ = Bus::reader_stopped;
    ++counts_.readers_stopped;
    on_.stop_reader(round_ % times_.instances, true);
  } else {
    bus_ = Bus::cut;
    ++counts_.links_cut;
    on_.cut_link((round_ + step_) % times_.instances, true);
  }
  next_bus_ = now + length;
}

void Faults::end_bus_fault() {
  if (bus_ == Bus::idle) return;
  if (bus_ == Bus::reader_stopped) on_.stop_reader(round_ % times_.instances, false);
  else on_.cut_link((round_ + step_) % times_.instances, false);
  bus_ = Bus::idle;
  step_ = (step_ + 1) % 3;
  if (step_ == 0) ++round_;
}

void Faults::heal() {
  end_bus_fault();
  if (redis_ == Redis::down) start();
}

std::string Faults::text() const {
  if (redis_ == Redis::down) return "redis is down";
  if (redis_ == Redis::recovering) return "redis is back, L1 not yet valid everywhere";
  if (bus_ == Bus::reader_stopped) return "bus reader of instance " + std::to_string(round_ % times_.instances) + " stopped";
  if (bus_ == Bus::cut) return "bus link of instance " + std::to_string((round_ + step_) % times_.instances) + " cut";
  return {};
}

}  // namespace tiercache::demo
