// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include "clock.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace tiercache::chaos {
namespace {

using demo::now_ns;
using demo::ns_per_ms;
using demo::sleep_ns;

constexpr std::int64_t database_ns = 200'000;
constexpr std::int64_t slow_ns = 50 * ns_per_ms;
constexpr std::int64_t probe_load_ns = 20 * ns_per_ms;
constexpr std::int64_t retry_ns = 10 * ns_per_ms;

/// Whatever a write returns beside the error.
template <class R>
std::optional<Errc> code_of(const R& result) {
  if (result) return std::nullopt;
  return result.error().code;
}

void raise(std::atomic<std::uint32_t>& to, std::uint32_t value) noexcept {
  std::uint32_t old = to.load(std::memory_order_relaxed);
  while (old < value && !to.compare_exchange_weak(old, value, std::memory_order_acq_rel, std::memory_order_relaxed)) {
  }
}

}  // namespace

Shop::Shop(const Board& board_, unsigned instance_, Cache<Cell> cells_)
    : board(board_), instance(instance_), cells(std::move(cells_)), answered(board.rows().size()) {
  const std::uint32_t keys = board.settings().keys;
  names.reserve(board.rows().size());
  for (std::uint32_t k = 0; k < board.rows().size(); ++k) {
    names.push_back(k < keys ? "k" + std::to_string(k) : "p" + std::to_string(k - keys));
  }
}

Session::Session(Shop& shop, unsigned index)
    : shop_(shop),
      board_(shop.board),
      index_(index),
      slot_(board_.sessions(shop.instance)[index]),
      acks_(board_.acks()),
      rows_(board_.rows()),
      seen_(rows_.size()) {
  for (const std::atomic<std::uint32_t>& left : slot_.writing) {
    // The commit may or may not have happened: what is announced is what stands now.
    if (const std::uint32_t one_more = left.load(std::memory_order_acquire); one_more != 0)
      writing_.push_back({one_more - 1, rows_[one_more - 1].committed()});
  }
  losses_before_ = losses() | 1U;  // odd: a loss may have lain in between
  tried_ = true;
}

Loaded<Cell> Session::load(std::uint32_t key) {
  // The row first, then the latency: what the database said grows old on its way.
  const std::uint32_t version = rows_[key].committed();
  InstanceBlock& block = board_.instances()[shop_.instance];
  sleep_ns(key >= board_.settings().keys ? probe_load_ns : database_ns);
  const LoaderMode mode = block.loader.load(std::memory_order_relaxed);
  if (mode != LoaderMode::usual) block.loads_met.fetch_add(1, std::memory_order_relaxed);
  switch (mode) {
    case LoaderMode::usual: break;
    case LoaderMode::slow: sleep_ns(slow_ns); break;
    case LoaderMode::throws: throw std::runtime_error("the loader throws, as it was told to");
    case LoaderMode::hangs:
      while (block.loader.load(std::memory_order_relaxed) == LoaderMode::hangs && board_.running()) sleep_ns(5 * ns_per_ms);
      break;
  }
  return {make_cell(key, version), write_kind_of(key) == WriteKind::versioned ? version : 0U};
}

void Session::read(std::uint32_t key) {
  Reading reading;
  reading.own = shop_.answered[key].load(std::memory_order_acquire);
  const std::uint32_t before = losses();
  reading.began = now_ns();
  const Handle<Cell> cell = shop_.cells.get_or_load(shop_.names[key], [this, key] { return load(key); });
  take(key, cell, reading, before);
}

void Session::read_many(std::span<const std::uint32_t> keys) {
  std::array<std::string_view, 16> names;
  std::array<Reading, 16> readings;
  const std::size_t n = std::min(keys.size(), names.size());
  for (std::size_t i = 0; i < n; ++i) {
    names[i] = shop_.names[keys[i]];
    readings[i].own = shop_.answered[keys[i]].load(std::memory_order_acquire);
  }
  const std::uint32_t before = losses();
  const std::int64_t began = now_ns();
  const std::vector<Handle<Cell>> cells = shop_.cells.get_many(std::span(names).first(n));
  for (std::size_t i = 0; i < n; ++i) {
    readings[i].began = began;
    if (cells[i]) take(keys[i], cells[i], readings[i], before);  // no loader here: absent is a true answer
  }
}

void Session::take(std::uint32_t key, const Handle<Cell>& cell, Reading reading, std::uint32_t before) {
  slot_.reads.add();
  if (!cell) return slot_.unanswered.add();  // Redis away and the loader failed, or the time was up: no answer is no lie
  const Source source = cell.source();
  (source == Source::l1 ? slot_.by_l1 : source == Source::l2 ? slot_.by_l2 : slot_.by_loader).add();
  RowState& row = rows_[key];
  reading.by_l1 = source == Source::l1;
  reading.version = is_of(*cell, key, !reading.by_l1) ? cell->version : 0;
  const std::uint32_t after = losses();
  reading.losing = before % 2 != 0 || after != before;
  std::int64_t staleness = 0;
  const Verdict verdict = judge(row, acks_, board_.settings().budget_ns, reading, staleness);
  std::uint32_t& seen = seen_[key];
  if (reading.version >= seen) seen = static_cast<std::uint32_t>(reading.version);
  else slot_.steps_back.add();
  if (verdict == Verdict::fresh) [[likely]]
    return;
  if (verdict == Verdict::excused) return slot_.excused.add();
  slot_.staleness_max_ns.raise(static_cast<std::uint64_t>(staleness));
  if (verdict == Verdict::within) return slot_.within.add();
  report_violation(board_, row, reading, verdict, staleness, shop_.instance, index_, static_cast<std::uint8_t>(source));
}

void Session::write(std::uint32_t key) {
  write_many({&key, 1});
  if (settled()) read(key);
}

void Session::write_many(std::span<const std::uint32_t> keys, std::int64_t hesitation_ns) {
  losses_before_ = losses();
  tried_ = false;
  for (std::size_t i = 0; i < keys.size(); ++i) slot_.writing[i].store(keys[i] + 1, std::memory_order_release);
  for (const std::uint32_t key : keys) writing_.push_back({key, rows_[key].commit()});
  if (hesitation_ns > 0) sleep_ns(hesitation_ns);
  announce();
}

void Session::settle() {
  if (settled() || now_ns() < next_try_) return;
  slot_.repeated.add();
  announce();
}

std::optional<Errc> Session::tell() {
  const Writing& w = writing_.front();
  const std::string& name = shop_.names[w.key];
  switch (write_kind_of(w.key)) {
    case WriteKind::erase: break;
    case WriteKind::versioned:  // to repeat it is safe, and to erase would forget the version that later puts are held against
      return code_of(shop_.cells.put(name, make_cell(w.key, w.version), {.version = w.version}));
    case WriteKind::plain:
      if (tried_) break;  // a put without an answer may still be on its way: no other one may follow it, an erase may
      return writing_.size() == 1 ? code_of(shop_.cells.put(name, make_cell(w.key, w.version))) : put_all();
  }
  return writing_.size() == 1 ? code_of(shop_.cells.erase(name)) : erase_all();
}

std::optional<Errc> Session::erase_all() {
  std::vector<std::string_view> names;
  for (const Writing& one : writing_) names.push_back(shop_.names[one.key]);
  const std::optional<Errc> failure = code_of(shop_.cells.erase_many(names));
  if (!failure) slot_.by_erase_many.add(writing_.size());
  return failure;
}

/// Each pair has its own answer: what was answered is acknowledged here, what was not stays.
std::optional<Errc> Session::put_all() {
  std::vector<std::pair<std::string_view, Cell>> pairs;
  for (const Writing& one : writing_) pairs.emplace_back(shop_.names[one.key], make_cell(one.key, one.version));
  const auto answers = shop_.cells.put_many(pairs);
  std::vector<Writing> failed;
  std::optional<Errc> failure;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (answers[i]) {
      acknowledge(writing_[i]);
      slot_.by_put_many.add();
    } else {
      failure = answers[i].error().code;
      failed.push_back(writing_[i]);
    }
  }
  writing_ = std::move(failed);
  return failure;
}

void Session::announce() {
  const std::optional<Errc> failure = tell();
  if (!failure) {
    for (const Writing& w : writing_) acknowledge(w);
  } else if (*failure == Errc::superseded) {
    slot_.superseded.add();  // not an acknowledgement: the version that stands may have come by a load, without an announcement
  } else {
    slot_.write_failures.add();
    tried_ = true;
    next_try_ = now_ns() + retry_ns;
    return;
  }
  writing_.clear();
  for (std::atomic<std::uint32_t>& one : slot_.writing) one.store(0, std::memory_order_release);
}

void Session::acknowledge(const Writing& w) {
  RowState& row = rows_[w.key];
  // Between the commit and the answer Redis may have lost the newer version that this put should have met.
  if (write_kind_of(w.key) == WriteKind::versioned && (losses_before_ % 2 != 0 || losses() != losses_before_))
    raise(row.excused, row.committed());
  raise(shop_.answered[w.key], w.version);
  if (!acks_.record(row.checker, w.version, now_ns())) fail_run(board_, "the table of acknowledgements is full");
  slot_.writes.add();
}

}  // namespace tiercache::chaos
