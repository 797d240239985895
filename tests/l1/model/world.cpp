// SPDX-License-Identifier: Apache-2.0
#include "world.hpp"

namespace tiercache::l1::model {

namespace {
[[nodiscard]] std::uint64_t address_of(const Entry& entry) noexcept { return reinterpret_cast<std::uintptr_t>(&entry); }
[[nodiscard]] Entry& entry_at(std::uint64_t word) noexcept { return *reinterpret_cast<Entry*>(slot::address(word)); }
}  // namespace

World::World() {
  for (auto& word : bucket.words) word.set(0);
  for (Record& record : records) {
    for (auto& hazard : record.hazards) hazard.set(nullptr);
    record.descriptor.word.set(0);
    record.descriptor.slot.set(0);
    record.remote_freed.set(0);
    record.passed.set(0);
    record.free_pins.set(((std::uint64_t{1} << pin_hazards) - 1) << op_hazards);
  }
  retired.set(nullptr);
  ready.set(nullptr);
  taken_.set(0);
  records_seen_.set(threads);
  for (auto& o : ownership_) o.set(record_owned);
  retired_copies_.set(0);
  barriers_begun_.set(0);
  barriers_ended_.set(0);
  seals_.set(0);
  overflow_list_.set(nullptr);
}

void World::abandon_records() {
  records_seen_.set(0);
  for (auto& o : ownership_) o.set(record_unused);
}

Overflow* World::make_overflow() {
  if (overflows_made_ == 2) return nullptr;
  Overflow& made = overflows_[overflows_made_++];
  for (auto& hazard : made.hazards) hazard.set(nullptr);
  made.owned.set(true);
  return &made;
}

void World::wait_for_overflow() { rl::yield(1, rl::debug_info("wait_for_overflow")); }

// --- entries -----------------------------------------------------------------------------------------------------------------

Entry* World::allocate(int key, int version) {
  std::uint64_t seen = taken_.load(RelacySync::relaxed);
  for (;;) {
    const auto at = static_cast<unsigned>(std::countr_one(seen));
    if (at >= entries_room) return nullptr;
    if (!Bits::take(taken_, seen, std::uint64_t{1} << at)) continue;
    Entry& entry = entries_[at];
    expect(!entry.in_use, "an entry is given out twice");
    entry.in_use = true;
    entry.retired = false;
    entry.contents = contents(key, version);
    entry.flags.store(0, RelacySync::relaxed);
    return &entry;
  }
}

void World::free(Entry& entry) {
  expect(entry.in_use, "an entry is freed twice");
  entry.in_use = false;
  entry.contents = freed;
  Bits::give(taken_, std::uint64_t{1} << (&entry - entries_));
}

bool World::trim() {
  if (!Bits::take_all(taken_)) return false;
  for (Entry& entry : entries_) {
    expect(!entry.in_use, "memory in use is given to the system");
    entry.contents = discarded;
  }
  Bits::give_all(taken_);
  return true;
}

void World::retire(Entry& entry) {
  expect(entry.in_use && !entry.retired, "an entry is retired twice");
  entry.retired = true;
  expect(entry.contents != freed, "a free entry is retired");  // production reads its size
  Hazards::mark_retired(entry.flags, flag_retired);
  push_retired(entry);
}

void World::push_retired(Entry& entry) {
  Stack::push(retired, &entry,
              [&entry](Entry* next) { entry.link.store(reinterpret_cast<std::uintptr_t>(next), RelacySync::relaxed); });
}

void World::reclaim() {
  Entry* list = Stack::take(retired);
  if (list == nullptr) return;
  run_barrier();
  free_unheld(list);
}

bool World::reclaim_sealed() {
  Entry* list = Stack::take(retired);
  if (list == nullptr) return false;
  const std::uint64_t seal = Barriers::ticket(barriers_begun_);
  bool passed = false;
  for (int n = 0; n < 4 && !passed; ++n) passed = Barriers::passed(seal, barriers_ended_);
  return free_if(passed, list);
}

bool World::reclaim_passed(unsigned id) {
  Entry* list = Stack::take(retired);
  if (list == nullptr) return false;
  const std::uint64_t seal = Passages::seal(seals_);
  pass(id);
  bool passed = false;
  for (int n = 0; n < 4 && !passed; ++n) passed = Passages::all_passed(*this, seal) || ablation.impatient;
  return free_if(passed, list);
}

bool World::free_if(bool passed, Entry* list) {
  if (passed) {
    free_unheld(list);
  } else {
    while (list != nullptr) {
      Entry& entry = *list;
      list = reinterpret_cast<Entry*>(entry.link.load(RelacySync::relaxed));
      push_retired(entry);
    }
  }
  return passed;
}

void World::free_unheld(Entry* list) {
  const Entry* found[World::threads * (op_hazards + pin_hazards) + 2 * op_hazards];
  bool complete = false;
  unsigned count = 0;
  for (unsigned attempt = 0; attempt < 2 && !complete; ++attempt) {
    count = 0;
    complete = Hazards::scan(*this, [&](const Entry* held) { found[count++] = held; });
  }
  while (list != nullptr) {
    Entry& entry = *list;
    list = reinterpret_cast<Entry*>(entry.link.load(RelacySync::relaxed));
    bool held = !complete;
    for (unsigned i = 0; i < count; ++i) held = held || found[i] == &entry;
    if (held) push_retired(entry);
    else free(entry);
  }
}

void World::make_ready() {
  while (free_ready()) {
  }
  if (Entry* list = Stack::take(retired)) Ready::put(ready, list);
}

bool World::free_ready() {
  Entry* entry = Ready::pop(ready, [](Entry* of) { return reinterpret_cast<Entry*>(of->link.load(RelacySync::relaxed)); });
  if (entry != nullptr) free(*entry);
  return entry != nullptr;
}

// --- operations --------------------------------------------------------------------------------------------------------------

Hazards::Match World::locate(int key, Hazards::Slot& hazard) {
  // All keys are at home in the first line; the second to come lies in the other.
  return Hazards::locate(bucket, 0, tag_of(key), hazard, [key](const Entry& entry) { return key_of(value(entry, key)) == key; });
}

int World::value(const Entry& entry, int key) {
  const int read = entry.contents;
  expect(read != freed && read != discarded, "an entry is read after it was freed");
  expect(key_of(read) == key, "an entry holds another key");  // one tag a key here
  return read;
}

const Entry* World::hit(int key, Hazards::Slot& hazard) {
  if (RelacySync::quick()) {
    unsigned at_slot = 0;
    const Entry* entry = Hazards::locate_quick(bucket.line(0), tag_of(key), hazard, at_slot,
                                               [key](const Entry& e) { return key_of(value(e, key)) == key; });
    if (entry != nullptr) return entry;
  }
  const Entry* entry = locate(key, hazard).entry;
  if (entry == nullptr) Hazards::clear(hazard);
  return entry;
}

int World::read(unsigned id, int key) {
  Hazards::Slot& hazard = records[id].pin(0);
  const Entry* entry = hit(key, hazard);
  if (entry == nullptr) return 0;
  const int result = value(*entry, key);
  Hazards::clear(hazard);
  return result;
}

const Entry* World::find(unsigned id, unsigned pin, int key) { return hit(key, records[id].pin(pin)); }

bool World::ticket(std::uint64_t& fence) { return BucketSteps::open_fence(bucket, fence); }

void World::help(unsigned id) {
  Env env{*this, records[id].hazards};
  static_cast<void>(BucketSteps::settled(bucket, env));
}

bool World::unlink(Hazards::Slot* hazards, int key) {
  const Hazards::Match match = locate(key, hazards[0]);
  bool removed = false;
  if (match.entry != nullptr) {
    auto sequence = static_cast<std::uint32_t>(match.entry->link.load(RelacySync::relaxed));
    if (ablation.sequence) sequence = 0;
    removed = BucketSteps::unlink(bucket, match.slot, match.word, sequence);
    if (removed) retire(entry_at(match.word));
  }
  Hazards::clear(hazards[0]);
  Hazards::clear(hazards[1]);
  return removed;
}

bool World::erase(Hazards::Slot* hazards, int key) {
  Env env{*this, hazards};
  if (ablation.bump_early) bump(env);
  bool removed = false;
  for (;;) {
    const std::uint64_t seen = BucketSteps::settled(bucket, env);
    if (unlink(hazards, key)) removed = true;
    if (ablation.bump || ablation.bump_early) return removed;
    if (ablation.bump_apart) return bump(env), removed;
    if (BucketSteps::bump_fence(bucket, seen)) return removed;
  }
}

void World::bump(Env& env) {
  while (!BucketSteps::bump_fence(bucket, BucketSteps::settled(bucket, env))) {
  }
}

bool World::evict(unsigned id, int key) {
  if (ablation.evict_bump) {
    Env env{*this, records[id].hazards};
    bump(env);
  }
  return unlink(records[id].hazards, key);
}

bool World::store(unsigned id, int key, int version, const Wanted& wanted) {
  Record& record = records[id];
  Env env{*this, record.hazards};
  const std::uint64_t* ticket = wanted.ticket;
  if (ticket != nullptr) {
    const std::uint64_t seen = bucket.control().load(RelacySync::relaxed);
    if (control::fence(seen) != *ticket) {
      if (control::op(seen) != 0 && !ablation.leave_pending) static_cast<void>(BucketSteps::settled(bucket, env));
      return false;
    }
  }
  if (wanted.when != When::always) {
    const bool met = wanted.met(locate(key, record.hazards[0]).entry);
    Hazards::clear(record.hazards[0]);
    if (!met) return false;
  }
  Entry* entry = allocate(key, version);
  if (entry == nullptr) return false;
  if (wanted.pin != pin_hazards) Hazards::publish(record.pin(wanted.pin), entry);
  const std::uint64_t word = slot::make(tag_of(key), address_of(*entry));
  if (ticket != nullptr && ablation.careless_fill && control::fence(BucketSteps::settled(bucket, env)) != *ticket) {
    free(*entry);
    return false;
  }
  bool stored = false;
  while (!stored) {
    const std::uint64_t seen = BucketSteps::settled(bucket, env);
    if (ticket != nullptr && !ablation.careless_fill && control::fence(seen) != *ticket) break;
    const Hazards::Match match = locate(key, record.hazards[0]);
    if (!ablation.careless_test && !wanted.met(match.entry)) break;
    std::uint64_t found = match.word;
    std::uint32_t found_seq = 0;
    unsigned target = match.slot;
    if (match.entry != nullptr) {
      found_seq = static_cast<std::uint32_t>(match.entry->link.load(RelacySync::relaxed));
    } else {
      bool full = true;
      for (const unsigned i : Buckets::slots) {
        target = i;
        found = bucket.slot(i).load(RelacySync::relaxed);
        full = slot::taken(found);
        if (!full) break;
      }
      if (full) continue;
    }
    if (BucketSteps::collides(seen, found, found_seq)) {
      BucketSteps::skip_sequence(bucket, seen);
      continue;
    }
    entry->link.store(control::seq(seen) + 1, RelacySync::relaxed);
    stored = BucketSteps::install(bucket, seen, target, word, id + 1, record.descriptor, ticket == nullptr, env);
  }
  Hazards::clear(record.hazards[0]);
  Hazards::clear(record.hazards[1]);
  if (!stored) {
    if (wanted.pin != pin_hazards) Hazards::clear(record.pin(wanted.pin));
    free(*entry);
  }
  return stored;
}

bool World::install(unsigned id, std::uint64_t seen, unsigned target, Entry& entry) {
  Env env{*this, records[id].hazards};
  const auto tag = tag_of(key_of(entry.contents));
  entry.link.store(control::seq(seen) + 1, RelacySync::relaxed);
  return BucketSteps::install(bucket, seen, target, slot::make(tag, address_of(entry)), id + 1, records[id].descriptor, true,
                              env);
}

void World::stop_in_install(unsigned id, int key, int version) {
  Entry& entry = *allocate(key, version);
  const std::uint64_t seen = bucket.control().peek();
  entry.link.set(control::seq(seen) + 1);
  records[id].descriptor.word.set(slot::make(tag_of(key), address_of(entry)));
  records[id].descriptor.slot.set(0);
  bucket.control().set(control::make(id + 1, control::fence(seen) + 1, control::seq(seen) + 1));
}

// --- checks ------------------------------------------------------------------------------------------------------------------

int World::content(int key) {
  int result = 0;
  for (const unsigned i : Buckets::slots) {
    const std::uint64_t word = bucket.slot(i).peek();
    if (!slot::taken(word) || slot::tag(word) != tag_of(key)) continue;
    expect(result == 0, "a key is in two slots");
    result = value(entry_at(word), key);
  }
  return result;
}

void World::check() {
  expect(control::op(bucket.control().peek()) == 0, "an operation stays pending");
  unsigned accounted = 0;
  for (const unsigned i : Buckets::slots) {
    const std::uint64_t word = bucket.slot(i).peek();
    if (!slot::taken(word)) continue;
    const Entry& entry = entry_at(word);
    expect(entry.in_use && !entry.retired, "an entry in the table is retired or free");
    expect(content(key_of_tag(slot::tag(word))) != 0, "an entry lies under another tag");
    ++accounted;
  }
  for (const Entry* first : {retired.peek(), ready.peek()}) {
    for (const Entry* entry = first; entry != nullptr; entry = reinterpret_cast<const Entry*>(entry->link.peek())) {
      expect(entry->in_use && entry->retired, "a free entry is among the retired");
      expect(++accounted <= entries_room, "the retired form a ring");
    }
  }
  for (const Entry& entry : entries_) accounted -= entry.in_use ? 1U : 0U;
  expect(accounted == 0, "an entry is lost, or counted twice");
}

}  // namespace tiercache::l1::model
