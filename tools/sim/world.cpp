// SPDX-License-Identifier: Apache-2.0
#include "world.hpp"

#include "interpose.hpp"
#include "session.hpp"

#include <tiercache/base/hash.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace tiercache::sim {
namespace {

using std::chrono::milliseconds;

milliseconds ms(Nanos t) { return milliseconds(t / millis); }

}  // namespace

World::World(std::uint64_t seed, const Ablation* ablation, Lua& lua, bool trace)
    : plan_(draw_plan(seed, ablation)),
      scheduler_(seed),
      random_(mix64(seed ^ 0x30d)),
      oracle_(scheduler_, plan_.ways.size()),
      servers_(scheduler_, lua, oracle_, mix64(seed ^ 0x5e2)),
      network_(scheduler_, servers_, mix64(seed ^ 0x2e7)) {
  scheduler_.trace = trace;
  if (trace) std::printf("%s\n", describe(plan_).c_str());
  servers_.serve(network_);
  servers_.row_of = [this](std::string_view key) { return row_of(key); };
  servers_.keep_copies =
      plan_.faults.has(Fault::server_snapshot) || plan_.faults.has(Fault::promotion) || plan_.faults.has(Fault::demotion);
  network_.link_of = [this](Process& process, bool bus) {
    Instance& instance = *instances_[process.instance - 1];
    return bus ? &instance.bus : &instance.data;
  };
  set_network(&network_);
  for (std::size_t i = 0; i < oracle_.rows.size(); ++i) oracle_.rows[i].way = static_cast<Way>(plan_.ways[i]);
  tokens_.resize(oracle_.rows.size());
  if (ablation != nullptr)
    for (const lab::Remedy r : ablation->remedies) lab::ablate(r);
  lab::bus_polls = false;
  if (plan_.pauses > 0) lab::hook = [this](lab::Point point, std::string_view key) { pass_point(point, key); };
  prepare_hash_secret();
  master_ = servers_.start({});
  for (unsigned i = 1; i <= plan_.instances; ++i) {
    instances_.push_back(std::make_unique<Instance>());
    Instance& instance = *instances_.back();
    instance.number = i;
    instance.data = {plan_.data_least, plan_.data_spread};
    instance.bus = {plan_.bus_least, plan_.bus_spread};
  }
}

std::optional<std::uint32_t> World::row_of(std::string_view physical) const {
  constexpr std::string_view prefix = "sim:world:rows:";
  const std::size_t k = physical.rfind('k');
  if (!physical.starts_with(prefix) || k == physical.npos) return std::nullopt;
  std::uint32_t row = 0;
  std::from_chars(physical.data() + k + 1, physical.data() + physical.size(), row);
  return row < oracle_.rows.size() ? std::optional(row) : std::nullopt;
}

Nanos World::some(double low, double high) {
  return static_cast<Nanos>(static_cast<double>(plan_.budget) * (low + random_.unit() * (high - low)));
}

Config World::config_of(const Instance& instance) const {
  Config config;
  config.env = "sim";
  config.resource = "world";
  config.instance_name = "i" + std::to_string(instance.number);
  config.l1.capacity_bytes = plan_.l1_bytes;
  config.l1.huge_pages = false;
  config.l1.profile = false;
  config.l2.url = "redis://10.0.0.1:6379";
  config.l2.shards = plan_.shards;
  config.l2.pool_size = plan_.pool;
  config.l2.call_timeout = config.l2.connect_timeout = ms(plan_.call_timeout);
  config.l2.backoff_min = milliseconds(20);
  config.l2.backoff_max = std::max(milliseconds(20), ms(plan_.budget / 2));
  config.bus.staleness_budget = ms(plan_.budget);
  config.bus.heartbeat = ms(plan_.heartbeat);
  config.bus.log_entries = plan_.log_entries;
  config.default_deadline = ms(plan_.deadline);
  config.lease_ttl = ms(plan_.lease_ttl);
  config.gate_ttl = ms(plan_.gate_ttl);
  config.open_timeout = milliseconds(100);
  config.distrust_other_epochs = plan_.distrust;
  config.log_sink = [this](LogLevel, std::string_view line) {
    const_cast<World*>(this)->scheduler_.note("log", 0, [&] { return std::string(line); });
  };
  config.log_level = LogLevel::info;
  return config;
}

void World::start_instance(Instance& instance) {
  instance.process = std::make_unique<Process>();
  Process& process = *instance.process;
  process.instance = instance.number;
  process.name = "i" + std::to_string(instance.number);
  process.clock_offset = static_cast<Nanos>(random_.below(1'000'000)) * millis;
  process.wall_offset = (static_cast<Nanos>(random_.below(20'000)) - 10'000) * millis;
  constexpr std::array<Nanos, 3> ticks{1 * millis, 4 * millis, 10 * millis};
  process.tick = ticks[random_.below(ticks.size())];
  instance.shop = nullptr;
  scheduler_.spawn(process, "main", [this, &instance, &process] {
    auto store = Store::open(config_of(instance));
    if (!store) return violate("the store does not open: " + store.error().message);
    ViewOptions view;
    view.ttl = ms(plan_.ttl);
    view.l1_ttl = ms(plan_.l1_ttl);
    Cache<Cell> rows = store->cache<Cell>("rows", view);
    auto* const shop = new Shop(std::move(*store), std::move(rows), oracle_.rows.size());
    instance.shop = shop;
    for (unsigned i = 0; i < plan_.sessions; ++i) {
      ++instance.running;
      const std::uint64_t seed = random_.next();
      scheduler_.spawn(process, "session" + std::to_string(i), [this, &instance, shop, i, seed] {
        Session session{*this, instance, *shop, i, Random(seed)};
        session.run();
        --instance.running;
      });
    }
  });
}

void World::pass_point(lab::Point point, std::string_view key) {
  if (quiet_ || scheduler_.running() == nullptr || random_.unit() >= plan_.pauses) return;
  // A bus thread that stands still with each message would be nothing but a slow link.
  if (point == lab::Point::bus_message && random_.below(8) != 0) return;
  const Nanos most = random_.below(4) == 0 ? plan_.pause_most : std::min<Nanos>(plan_.pause_most, 5 * millis);
  const Nanos time = static_cast<Nanos>(random_.below(static_cast<std::uint64_t>(most) + 1));
  scheduler_.note("held", static_cast<std::uint64_t>(point), [&] {
    return "at step " + std::to_string(static_cast<unsigned>(point)) + " of " + std::string(key) + " for " +
           std::to_string(time / micros) + " us";
  });
  scheduler_.sleep_until(scheduler_.now() + time);
}

void World::violate(std::string what) {
  char at[32];
  std::snprintf(at, sizeof at, "%.3f ms: ", static_cast<double>(scheduler_.now()) / 1e6 - 1e6);
  scheduler_.note("VIOLATION", 0, [&] { return what; });
  outcome_.violations.push_back(at + std::move(what));
}

void World::audit() {
  for (auto& owned : instances_) {
    Instance& instance = *owned;
    if (instance.shop == nullptr) {
      violate("instance " + std::to_string(instance.number) + " did not open its store");
      continue;
    }
    ++instance.running;
    scheduler_.spawn(*instance.process, "audit", [this, &instance] {
      Session session{*this, instance, *instance.shop, 0, Random(instance.number)};
      // Twice: what Redis or the loader say, and what L1 made of it.
      for (int round = 0; round < 2; ++round) {
        for (std::uint32_t row = 0; row < oracle_.rows.size(); ++row) {
          Reading reading;
          reading.row = row;
          reading.bound = plan_.budget;
          reading.began = scheduler_.now();
          session.take(row,
                       instance.shop->rows.get_or_load(key_of(row), [&] { return session.load(row); },
                                                       {.deadline = std::chrono::seconds(5)}),
                       reading, true);
        }
      }
      if (!instance.shop->store.health().l1_coherent)
        violate("instance " + std::to_string(instance.number) + " is not coherent though all has been well for long");
      if (auto sound = instance.shop->store.validate(); !sound) violate("L1 does not add up: " + sound.error().message);
      --instance.running;
    });
  }
}

unsigned World::running() const {
  unsigned n = 0;
  for (const auto& instance : instances_) n += instance->running;
  return n;
}

Outcome World::run() {
  for (auto& instance : instances_)
    scheduler_.at(scheduler_.now() + static_cast<Nanos>(random_.below(50 * millis)),
                  [this, &instance] { start_instance(*instance); });
  next_fault();
  const Nanos end = scheduler_.now() + plan_.duration;
  bool going = true;
  const Nanos step = 5 * millis;
  while (going && outcome_.violations.empty() && scheduler_.now() < end) {
    going = scheduler_.run_until(scheduler_.now() + step);
    servers_.copy_now(master_);
    network_.forget_ended();
  }
  quiet_ = true;
  heal();
  // Long enough for every back-off, silence, lease and gate.
  const Nanos rest = scheduler_.now() + 3 * plan_.budget + plan_.gate_ttl + plan_.lease_ttl + 3000 * millis;
  if (going && outcome_.violations.empty()) going = scheduler_.run_until(rest);
  if (going && outcome_.violations.empty()) {
    if (running() != 0) violate(std::to_string(running()) + " sessions hang though all has been well for long");
    audit();
    const Nanos at_most = scheduler_.now() + 10'000 * millis;
    while (going && running() != 0 && scheduler_.now() < at_most) going = scheduler_.run_until(scheduler_.now() + 20 * millis);
    if (running() != 0) violate("the audit hangs");
  }
  outcome_.ended = going;
  outcome_.hash = scheduler_.hash();
  outcome_.events = scheduler_.events;
  outcome_.reads = oracle_.reads;
  outcome_.by_l1 = oracle_.by_l1;
  outcome_.within = oracle_.within;
  outcome_.excused = oracle_.excused;
  outcome_.writes = oracle_.writes;
  outcome_.commands = servers_.commands;
  return outcome_;
}

}  // namespace tiercache::sim
