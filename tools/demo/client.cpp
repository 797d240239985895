// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include "clock.hpp"

#include <chrono>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace tiercache::demo {
namespace {

/// The kinds by which a call says that Redis could not be asked; anything else is a failure of ours.
bool says_degraded(Errc code) noexcept {
  return code == Errc::unavailable || code == Errc::deadline_exceeded || code == Errc::outcome_unknown;
}

void acknowledge(const SharedBlock& shared, std::uint32_t key, std::uint64_t version) {
  // The instant of acknowledgement is this one: after the answer, just before the table says so.
  if (version > std::numeric_limits<std::uint32_t>::max() ||
      !shared.acks().record(shared.keys()[key], static_cast<std::uint32_t>(version), now_ns())) {
    fail_run(shared, "the table of acknowledgements is full");
  }
}

}  // namespace

void fail_run(const SharedBlock& shared, std::string_view why) {
  if (!shared.header().failed.exchange(true))
    std::fprintf(stderr, "tiercache_demo: %.*s\n", static_cast<int>(why.size()), why.data());
}

void Unannounced::add(std::uint32_t key, std::uint64_t version) {
  const std::lock_guard lock(mutex_);
  std::uint64_t& highest = versions_[key];
  highest = std::max(highest, version);
  block_.unannounced.store(versions_.size(), std::memory_order_relaxed);
  changed_.notify_all();
}

void Unannounced::finish() {
  const std::lock_guard lock(mutex_);
  finishing_ = true;
  changed_.notify_all();
}

void Unannounced::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return finishing_ || !versions_.empty(); });
    if (versions_.empty()) return;
    if (!retry_some(lock)) changed_.wait_for(lock, std::chrono::milliseconds(10));
    if (shared_.header().failed.load(std::memory_order_relaxed)) return;
  }
}

bool Unannounced::retry_some(std::unique_lock<std::mutex>& lock) {
  constexpr std::size_t batch_max = 128;
  std::map<std::uint32_t, std::uint64_t> batch;
  while (batch.size() < batch_max && !versions_.empty()) batch.insert(versions_.extract(versions_.begin()));
  lock.unlock();
  std::vector<KeyText> texts;
  texts.reserve(batch.size());
  for (const auto& [key, version] : batch) texts.emplace_back(key, shared_.settings().keys);
  std::vector<std::string_view> keys;
  keys.reserve(batch.size());
  for (const KeyText& text : texts) keys.push_back(text.view());
  const bool announced = rows_.erase_many(keys).ok();
  if (announced) {
    for (const auto& [key, version] : batch) acknowledge(shared_, key, version);
  }
  lock.lock();
  if (!announced) {
    for (const auto& [key, version] : batch) versions_[key] = std::max(versions_[key], version);
  }
  block_.unannounced.store(versions_.size(), std::memory_order_relaxed);
  return announced;
}

Row Client::load(std::uint32_t key) {
  slot_.db_queries.add();
  const Result<Record::Fields> fields = record_.find(key);
  // The query first, then the latency: what the database said grows old on its way, as it does in life.
  sleep_ns(shared_.settings().db_latency_ns + (key >= shared_.settings().keys ? pause_ns : 0));
  if (!fields) throw std::runtime_error(fields.error().message);
  return {make_text({key, fields.value().version}, fields.value().size)};
}

void Client::read(std::uint32_t key) {
  const KeyText name(key, shared_.settings().keys);
  const bool fault_before = fault_on();
  const std::int64_t began = now_ns();
  const Handle<Row> row = rows_.get_or_load(name.view(), [this, key] { return load(key); });
  const std::int64_t took = now_ns() - began;
  slot_.reads.add();
  if (row.error() != nullptr) {
    if (row) slot_.degraded.add();
    else count_failure(*row.error(), fault_before);
  } else if (!row) {
    slot_.errors.add();  // "absent", but every row exists
  }
  if (!row) return;
  judge(key, row->text, began);
  const auto took_us = static_cast<std::uint64_t>(took / 1000);
  switch (row.source()) {
    case Source::l1:
      slot_.by_l1.add();
      slot_.l1_hit.record_us(static_cast<std::uint64_t>(took));
      break;
    case Source::l2:
      slot_.by_l2.add();
      slot_.l2_hit.record_us(took_us);
      break;
    case Source::loader:
      slot_.by_loader.add();
      slot_.load.record_us(took_us);
      break;
    case Source::none: slot_.errors.add(); break;
  }
}

void Client::judge(std::uint32_t key, std::string_view text, std::int64_t began) {
  const KeyState& state = shared_.keys()[key];
  const std::optional<RowName> name = parse_text(text, state.size);
  if (!name || name->key != key || name->version < 1 || name->version > 1ULL + state.started.load(std::memory_order_acquire)) {
    slot_.wrong.add();  // another key's value, or a version that was never written
    return;
  }
  const std::int64_t staleness = acks_.staleness(state, name->version, began);
  if (staleness == 0) return;
  slot_.stale.add();
  slot_.staleness_max_ns.raise(static_cast<std::uint64_t>(staleness));
  if (staleness > shared_.settings().budget_ns) slot_.stale_beyond.add();
}

void Client::count_failure(const Error& error, bool fault_before) {
  if (says_degraded(error.code) && (fault_before || fault_on())) slot_.degraded.add();
  else slot_.errors.add();
  if (!says_degraded(error.code) && shared_.settings().verbose) std::fprintf(stderr, "call failed: %s\n", error.message.c_str());
}

void Client::write(std::uint32_t key) {
  const KeyText name(key, shared_.settings().keys);
  const bool fault_before = fault_on();
  slot_.writes.add();
  slot_.db_queries.add();
  shared_.keys()[key].started.fetch_add(1, std::memory_order_release);
  const Result<Record::Fields> written = record_.increment(key);
  sleep_ns(shared_.settings().db_latency_ns);
  if (!written) return slot_.errors.add();
  const Result<void> erased = rows_.erase(name.view());
  if (erased) return acknowledge(shared_, key, written.value().version);
  count_failure(erased.error(), fault_before);
  unannounced_.add(key, written.value().version);
}

}  // namespace tiercache::demo
