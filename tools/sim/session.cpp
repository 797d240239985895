// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>

namespace tiercache::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/// Whatever a write returns beside the error.
template <class R>
std::optional<Errc> code_of(const R& result) {
  if (result) return std::nullopt;
  return result.error().code;
}

}  // namespace

void Session::sleep(Nanos time) { world.scheduler_.sleep_until(world.scheduler_.now() + time); }

void Session::run() {
  if (index == 0) {
    // What a process before this one had committed and not announced.
    for (const auto& [row, version] : std::exchange(instance.unfinished, {})) finish(row, version, true);
  }
  const auto rows = static_cast<std::uint32_t>(world.oracle_.rows.size());
  while (!world.quiet_) {
    sleep(static_cast<Nanos>(random.below(static_cast<std::uint64_t>(2 * world.plan_.think) + 1)));
    const auto row = static_cast<std::uint32_t>(random.below(rows));
    if (random.below(100) < world.plan_.write_share) {
      if (random.below(60) == 0) clear();
      else if (random.below(6) == 0) write_many();
      else write(row);
    } else if (random.below(12) == 0) {
      read_many();
    } else {
      // Several in a row, as one request makes them: the hits that are judged.
      for (std::uint64_t n = random.below(4) + 1; n != 0 && !world.quiet_; --n) read(row);
    }
  }
}

Loaded<Cell> Session::load(std::uint32_t row) {
  const Row& r = world.oracle_.rows[row];
  // The row first, then the latency: what the database said grows old on its way.
  const std::uint32_t version = r.way == Way::buried ? world.oracle_.lagging(row, world.plan_.replica_lag) : r.committed;
  Cell cell = world.oracle_.load(row, version, r.way == Way::buried ? world.plan_.replica_lag : 0);
  sleep(static_cast<Nanos>(random.below(500 * micros)));
  if (instance.slow_loads || random.below(32) == 0) sleep(world.some(0.05, 1.2));
  if (instance.failing_loads && random.below(2) == 0) throw std::runtime_error("the loader fails, as it was told to");
  return {std::move(cell), r.way == Way::versioned || r.way == Way::buried ? version : 0U};
}

void Session::read(std::uint32_t row) {
  Reading reading;
  reading.row = row;
  reading.own = shop.answered[row];
  reading.bound = world.plan_.budget;
  ReadOptions options;
  WriteToken token;  // outlives the call
  const std::uint64_t kind = random.below(16);
  if (kind == 0) {
    options.max_staleness = milliseconds(world.plan_.budget / millis / static_cast<Nanos>(2 + random.below(6)));
    reading.bound = options.max_staleness.count() * millis;
  } else if (kind < 3 && world.tokens_[row].version != 0) {
    token = world.tokens_[row].token;
    options.after = token;
    reading.own = std::max(reading.own, world.tokens_[row].version);
  }
  reading.began = world.scheduler_.now();
  const std::string key = world.key_of(row);
  const Way way = world.oracle_.rows[row].way;
  // A lagging replica is behind by itself: only what L1 and Redis keep is the product's.
  const Handle<Cell> cell = way == Way::buried && kind % 2 != 0 ? shop.rows.get(key, options)
                                                                : shop.rows.get_or_load(
                                                                      key, [this, row] { return load(row); }, options);
  take(row, cell, reading);
}

void Session::read_many() {
  std::array<std::string, 3> names;
  std::array<std::string_view, 3> views;
  std::array<Reading, 3> readings;
  for (std::size_t i = 0; i < names.size(); ++i) {
    Reading& r = readings[i];
    r.row = static_cast<std::uint32_t>(random.below(world.oracle_.rows.size()));
    r.own = shop.answered[r.row];
    r.bound = world.plan_.budget;
    r.began = world.scheduler_.now();
    views[i] = names[i] = world.key_of(r.row);
  }
  const std::vector<Handle<Cell>> cells = shop.rows.get_many(views);
  for (std::size_t i = 0; i < cells.size(); ++i) take(readings[i].row, cells[i], readings[i]);
}

void Session::take(std::uint32_t row, const Handle<Cell>& cell, Reading reading, bool audits) {
  if (!cell) {  // no answer is no lie
    world.scheduler_.note("unanswered", row, [&] {
      return world.key_of(row) + (cell.error() != nullptr ? ": " + cell.error()->message : " is absent");
    });
    if (audits)
      world.violate("after all was quiet row " + std::to_string(row) +
                    " is not answered: " + (cell.error() != nullptr ? cell.error()->message : "absent"));
    return;
  }
  const Source source = cell.source();
  reading.by_l1 = source == Source::l1;
  reading.torn = reading.began <= world.torn_until_;
  reading.key = cell->key;
  reading.version = cell->version;
  reading.nonce = cell->nonce;
  world.scheduler_.note("answered", std::uint64_t{row} << 32 | reading.version, [&] {
    return world.key_of(row) + " = version " + std::to_string(reading.version) + " by " +
           (source == Source::l1   ? "L1"
            : source == Source::l2 ? "Redis"
                                   : "a loader");
  });
  // The source of a lagging replica may always be behind by itself.
  if (source == Source::loader && world.oracle_.rows[row].way == Way::buried) return;
  const auto why = audits ? world.oracle_.audit(reading) : world.oracle_.judge(reading);
  if (why) world.violate("instance " + std::to_string(instance.number) + ": " + *why);
}

void Session::write(std::uint32_t row) {
  const Row& r = world.oracle_.rows[row];
  if (r.way == Way::update) return update(row);
  if (r.way == Way::plain && (row % world.plan_.instances + 1 != instance.number || index != 0)) return;
  const std::uint32_t version = world.oracle_.commit(row);
  world.scheduler_.note("commits", std::uint64_t{row} << 32 | version,
                        [&] { return world.key_of(row) + " version " + std::to_string(version); });
  instance.unfinished.emplace_back(row, version);
  finish(row, version, false);
}

void Session::write_many() {
  std::vector<std::uint32_t> rows;
  const bool puts = random.below(2) == 0;
  for (std::uint32_t i = 0; i < world.oracle_.rows.size(); ++i) {
    const Way way = world.oracle_.rows[i].way;
    const bool mine = i % world.plan_.instances + 1 == instance.number && index == 0;
    if (puts ? way == Way::plain && mine : way == Way::erase) rows.push_back(i);
  }
  if (rows.size() > 3) rows.resize(3);
  if (rows.empty()) return;
  std::vector<std::pair<std::string, Cell>> pairs;
  std::vector<std::uint32_t> versions;
  for (const std::uint32_t row : rows) {
    versions.push_back(world.oracle_.commit(row));
    instance.unfinished.emplace_back(row, versions.back());
    pairs.emplace_back(world.key_of(row), world.oracle_.make(row, versions.back()));
    world.scheduler_.note("commits", std::uint64_t{row} << 32 | versions.back(),
                          [&] { return pairs.back().first + " version " + std::to_string(versions.back()); });
  }
  if (puts) {
    const auto answers = shop.rows.put_many(pairs);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (answers[i].ok()) acknowledge(rows[i], versions[i]);
      else finish(rows[i], versions[i], true);
    }
    return;
  }
  std::vector<std::string_view> names;
  for (const auto& [key, cell] : pairs) names.emplace_back(key);
  const bool done = shop.rows.erase_many(names).ok();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (done) acknowledge(rows[i], versions[i]);
    else finish(rows[i], versions[i], true);
  }
}

void Session::finish(std::uint32_t row, std::uint32_t version, bool tried) {
  for (;;) {
    const auto failure = tell(row, version, tried);
    world.scheduler_.note("told", std::uint64_t{row} << 32 | version, [&] {
      return world.key_of(row) + " version " + std::to_string(version) + ": " + (failure ? std::string(name(*failure)) : "ok");
    });
    if (!failure) return acknowledge(row, version);
    // Not an acknowledgement, but nothing is left to do: a newer version stands.
    if (*failure == Errc::superseded) {
      std::erase(instance.unfinished, std::pair(row, version));
      return;
    }
    tried = true;
    sleep(10 * millis);
  }
}

std::optional<Errc> Session::tell(std::uint32_t row, std::uint32_t version, bool tried) {
  const std::string key = world.key_of(row);
  // Also when it is told again: what it says is as old as its commit.
  const auto cell = [&] {
    return world.oracle_.make(row, version, world.scheduler_.now() - world.oracle_.rows[row].committed_at[version]);
  };
  const auto keep_token = [&](const Result<WriteToken>& r) {
    if (r && version >= world.tokens_[row].version) world.tokens_[row] = {*r, version};
    return code_of(r);
  };
  switch (world.oracle_.rows[row].way) {
    case Way::versioned: return keep_token(shop.rows.put(key, cell(), {.version = version}));
    case Way::plain: {
      if (tried) break;
      const auto r = shop.rows.put(key, cell());
      // Where memory was out the key was erased instead, which was announced, unless the refusal says that it could not be.
      if (!r && r.error().code == Errc::refused && r.error().message.starts_with("OOM") &&
          r.error().message.find("nor could the key be erased") == std::string::npos)
        return std::nullopt;
      return keep_token(r);
    }
    case Way::buried: return keep_token(shop.rows.erase(key, {.version = version}));
    default: break;
  }
  return keep_token(shop.rows.erase(key));
}

void Session::acknowledge(std::uint32_t row, std::uint32_t version) {
  shop.answered[row] = std::max(shop.answered[row], version);
  world.oracle_.acknowledge(row, version);
  std::erase(instance.unfinished, std::pair(row, version));
}

void Session::update(std::uint32_t row) {
  std::uint32_t version = 0;
  const Nanos began = world.scheduler_.now();
  // Held by the instance and not by this stack, which a crash leaves as it is: whether the gate alone must see to the rest.
  const auto losses = world.oracle_.rows[row].losses.size();
  const Result<void> r = shop.rows.update(world.key_of(row), [&] {
    sleep(static_cast<Nanos>(random.below(2 * millis)));
    if (random.below(8) == 0) sleep(world.some(0.1, 0.8));
    version = world.oracle_.commit(row);
    world.scheduler_.note("commits", std::uint64_t{row} << 32 | version,
                          [&] { return world.key_of(row) + " version " + std::to_string(version); });
    // The promise for a process that dies is one of commits within the gate's time, and of a gate that Redis has kept.
    if (world.scheduler_.now() - began >= world.plan_.gate_ttl - 5 * millis || losses != world.oracle_.rows[row].losses.size())
      instance.unfinished.emplace_back(row, version);
    sleep(static_cast<Nanos>(random.below(2 * millis)));
    if (random.below(8) == 0) sleep(world.some(0.1, 0.8));
  });
  world.scheduler_.note("updated", std::uint64_t{row} << 32 | version, [&] {
    return world.key_of(row) + " version " + std::to_string(version) + ": " + (r ? "ok" : std::string(name(r.error().code)));
  });
  if (version == 0) return;
  if (r) return acknowledge(row, version);
  instance.unfinished.emplace_back(row, version);
  finish(row, version, true);
}

void Session::clear() {
  const BulkOptions options{.deadline = nanoseconds(world.plan_.deadline * 2), .acknowledged = random.below(2) == 0};
  const auto r = shop.rows.clear(options);
  world.scheduler_.note("cleared", 0, [&] { return r ? std::string("ok") : r.error().message; });
}

}  // namespace tiercache::sim
