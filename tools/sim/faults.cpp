// SPDX-License-Identifier: Apache-2.0
//
// What happens to the servers, links and instances of a world.
#include "session.hpp"
#include "world.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace tiercache::sim {

void World::next_fault() {
  if (plan_.faults.empty()) return;
  scheduler_.at(scheduler_.now() + static_cast<Nanos>(random_.below(static_cast<std::uint64_t>(2 * plan_.between_faults) + 1)),
                [this] {
                  if (quiet_) return;
                  std::vector<Fault> kinds;
                  for (std::size_t i = 0; i < fault_kinds; ++i)
                    if (plan_.faults.has(static_cast<Fault>(i))) kinds.push_back(static_cast<Fault>(i));
                  begin(kinds[random_.below(kinds.size())]);
                  next_fault();
                });
}

void World::begin(Fault fault) {
  ++outcome_.faults;
  if (fault < Fault::crash) {
    scheduler_.note("fault", static_cast<std::uint64_t>(fault), [&] { return std::string(name(fault)); });
    return begin_server(fault);
  }
  Instance& instance = *instances_[random_.below(instances_.size())];
  if (!instance.process || instance.process->dead) return;
  scheduler_.note("fault", static_cast<std::uint64_t>(fault) << 8 | instance.number,
                  [&] { return std::string(name(fault)) + " of instance " + std::to_string(instance.number); });
  begin_instance(fault, instance);
}

void World::begin_server(Fault fault) {
  const unsigned server = master_;
  if (replacing_ || !servers_.is_up(server)) return;
  Redis& redis = servers_.redis(server);
  switch (fault) {
    case Fault::server_empty:
    case Fault::server_snapshot: {
      KeySpace keys = fault == Fault::server_empty ? KeySpace{} : servers_.earlier(server, some(0, 2));
      servers_.kill(server);
      oracle_.lose_all(true);
      scheduler_.at(scheduler_.now() + some(0.01, 0.6), [this, server, keys = std::move(keys)]() mutable {
        if (servers_.is_up(server)) return;
        oracle_.lose_all(true);
        servers_.restart(server, std::move(keys));
      });
      return;
    }
    case Fault::server_stop: return servers_.stop_until(server, scheduler_.now() + some(0.05, 1.5));
    case Fault::promotion: return replace_master(false);
    case Fault::demotion: return replace_master(true);
    case Fault::flush:
      oracle_.lose_all();
      redis.run({"FLUSHALL"});
      return;
    case Fault::evict: return evict_some();
    case Fault::full:
      redis.full = true;
      scheduler_.at(scheduler_.now() + some(0.1, 1.5), [this, server] { servers_.redis(server).full = false; });
      return;
    case Fault::scripts_lost: redis.run({"SCRIPT", "FLUSH"}); return;
    case Fault::foreign: {
      std::vector<std::string> keys;
      for (const auto& [key, stored] : redis.keys)
        if (row_of(key)) keys.push_back(key);
      if (keys.size() < 2) return;
      const std::string& from = keys[random_.below(keys.size())];
      const std::string& to = keys[random_.below(keys.size())];
      // Not over a version that puts are compared with: what a stranger writes there is believed.
      const Way way = oracle_.rows[*row_of(to)].way;
      // And only upwards, so that no bytes come back to the key that they were of, when it holds newer ones.
      if (*row_of(from) >= *row_of(to) || way == Way::versioned || way == Way::buried) return;
      oracle_.lose(*row_of(to));  // with what stood there goes its version
      redis.run({"COPY", from, to, "REPLACE"});
      return;
    }
    default: return;
  }
}

/// A replica of a while ago takes over under the same address. Whoever is connected to the old master stays with it, if it still
/// answers: it takes no writes from then on.
void World::replace_master(bool old_answers) {
  const unsigned old = master_;
  KeySpace keys = servers_.earlier(old, plan_.replica_lag);
  oracle_.lose_all(true);
  replacing_ = true;
  const Nanos wait = some(0.01, 0.5);
  if (old_answers) {
    servers_.redis(old).read_only = true;
    const Nanos until = scheduler_.now() + wait + some(0.05, 2);
    torn_until_ = std::max(torn_until_, until + 20 * millis);
    scheduler_.at(until, [this, old] { servers_.kill(old); });
  } else {
    servers_.kill(old);
  }
  torn_until_ = std::max(torn_until_, scheduler_.now() + wait);
  scheduler_.at(scheduler_.now() + wait, [this, keys = std::move(keys)]() mutable {
    oracle_.lose_all(true);
    master_ = servers_.start(std::move(keys));
    replacing_ = false;
    for (auto& instance : instances_) instance->data.server = instance->bus.server = master_;
  });
}

void World::evict_some() {
  Redis& redis = servers_.redis(master_);
  std::vector<std::string> keys;
  for (const auto& [key, stored] : redis.keys)
    if (random_.below(4) == 0) keys.push_back(key);
  for (const std::string& key : keys) {
    if (const auto row = row_of(key)) oracle_.lose(*row);
    // A gate or a lease that goes is a loss of its row's, too.
    if (key.find(":!gate:") != key.npos || key.find(":!lease:") != key.npos) oracle_.lose_all();
    redis.run({"DEL", key});
  }
}

void World::begin_instance(Fault fault, Instance& instance) {
  const Nanos now = scheduler_.now();
  const auto reset_all = [this, &instance](bool data, bool bus) {
    const std::vector<StreamPtr> all = network_.streams();
    for (const StreamPtr& s : all) {
      if (s->process != instance.process.get() || !(s->bus ? bus : data)) continue;
      // A reset, or a CLIENT KILL: then what was answered comes still.
      if (random_.below(2) == 0 || !s->served) network_.reset(s, ECONNRESET);
      else servers_.kill_client(s);
    }
  };
  const auto hold = [now](Link& link, Direction way, Nanos time) {
    link.held_until[way] = std::max(link.held_until[way], now + time);
  };
  switch (fault) {
    case Fault::crash: return crash(instance);
    case Fault::pause: {
      Process& process = *instance.process;
      scheduler_.pause(process);
      scheduler_.at(now + some(0.05, 2.5), [this, &process] { scheduler_.resume(process); });
      return;
    }
    case Fault::data_reset: return reset_all(true, false);
    case Fault::bus_reset: return reset_all(false, true);
    case Fault::bus_refused: instance.bus.refused_until = now + some(0.05, 1.5); return reset_all(false, true);
    case Fault::hold_requests: return hold(instance.data, to_server, some(0.05, 1.5));
    case Fault::hold_answers: return hold(instance.data, to_client, some(0.05, 1.5));
    case Fault::hold_bus: return hold(instance.bus, to_client, some(0.1, 2.5));
    case Fault::half_open: {
      const Nanos time = some(0.2, 2);
      const bool up = random_.below(2) == 0;
      for (Link* link : {&instance.data, &instance.bus}) hold(*link, up ? to_server : to_client, time);
      scheduler_.at(now + time, [reset_all] { reset_all(true, true); });
      return;
    }
    case Fault::slow:
      for (Link* link : {&instance.data, &instance.bus}) {
        link->slow_by = some(0.02, 0.5);
        for (Nanos& until : link->slow_until)
          if (random_.below(2) == 0) until = now + some(0.2, 2);
      }
      return;
    case Fault::stuck:
      instance.data.stuck_until = now + some(0.5, 2);
      instance.data.stuck_by = some(0.3, 1.5);
      return;
    case Fault::slow_loads:
      instance.slow_loads = true;
      scheduler_.at(now + some(0.5, 2), [&instance] { instance.slow_loads = false; });
      return;
    case Fault::failing_loads:
      instance.failing_loads = true;
      scheduler_.at(now + some(0.5, 2), [&instance] { instance.failing_loads = false; });
      return;
    default: return;
  }
}

void World::crash(Instance& instance) {
  Process& process = *instance.process;
  process.dead = true;
  process.held.clear();
  network_.end_process(process);
  instance.shop = nullptr;
  instance.running = 0;
  dead_.push_back(std::move(instance.process));
  scheduler_.at(scheduler_.now() + some(0.02, 1), [this, &instance] { start_instance(instance); });
}

void World::heal() {
  for (auto& owned : instances_) {
    Instance& instance = *owned;
    instance.slow_loads = instance.failing_loads = false;
    for (Link* link : {&instance.data, &instance.bus}) {
      link->held_until = {};
      link->slow_until = {};
      link->refused_until = link->stuck_until = 0;
    }
    if (instance.process) scheduler_.resume(*instance.process);
  }
}

}  // namespace tiercache::sim
