// SPDX-License-Identifier: Apache-2.0
#include "oracle.hpp"

#include <tiercache/base/bytes.hpp>

#include <algorithm>
#include <cstdio>

namespace tiercache::sim {

std::string_view name(Way way) noexcept {
  constexpr std::string_view names[] = {"erase", "versioned", "plain", "update", "buried"};
  return names[static_cast<std::size_t>(way)];
}

Oracle::Oracle(Scheduler& scheduler, std::size_t count) : rows(count), scheduler_(scheduler), births_(1) {
  for (Row& row : rows) row.acknowledged_at.assign(2, 0);
}

std::uint32_t Oracle::commit(std::uint32_t row) {
  Row& r = rows[row];
  ++r.committed;
  r.committed_at.push_back(scheduler_.now());
  r.acknowledged_at.push_back(never);
  return r.committed;
}

void Oracle::acknowledge(std::uint32_t row, std::uint32_t version) {
  Row& r = rows[row];
  // Who had been told of this one may not be shown what came before it.
  for (std::uint32_t v = version; v >= 2 && r.acknowledged_at[v] == never; --v) r.acknowledged_at[v] = scheduler_.now();
  r.acknowledged = std::max(r.acknowledged, version);
  ++writes;
}

void Oracle::lose(std::uint32_t row, bool new_epoch) { rows[row].losses.push_back({scheduler_.now(), new_epoch}); }
void Oracle::lose_all(bool new_epoch) {
  for (std::uint32_t i = 0; i < rows.size(); ++i) lose(i, new_epoch);
}

std::uint32_t Oracle::lagging(std::uint32_t row, Nanos lag) const {
  const Row& r = rows[row];
  std::uint32_t version = r.committed;
  while (version > 1 && r.committed_at[version] > scheduler_.now() - lag) --version;
  return version;
}

Cell Oracle::make(std::uint32_t row, std::uint32_t version, Nanos behind) {
  std::string nonce;
  append_be<8>(nonce, births_.size());
  births_.push_back({scheduler_.now() - behind});
  return {row, version, nonce};
}

Cell Oracle::load(std::uint32_t row, std::uint32_t version, Nanos behind) {
  Cell cell = make(row, version, behind);
  births_.back().leased = behind == 0;
  return cell;
}

const Oracle::Birth* Oracle::birth(std::string_view nonce) const {
  if (nonce.size() < nonce_bytes) return nullptr;
  const std::uint64_t n = load_be<8>(nonce.data() + nonce.size() - nonce_bytes);
  return n != 0 && n < births_.size() ? &births_[n] : nullptr;
}

void Oracle::stored(std::string_view bytes) {
  if (const Birth* const b = birth(bytes)) births_[static_cast<std::size_t>(b - births_.data())].stored = scheduler_.now();
}

/// Outside of the promise: what was under way when Redis forgot, and was stored after that: nothing that still stood in Redis
/// could tell that it was outdated. What had been stored before the loss, and came back with a snapshot, is not excused; nor is
/// what was loaded under a lease of before, which came back and is of an epoch that is over.
bool Oracle::is_excused(const Reading& r) const {
  if (r.torn && !r.by_l1) return true;
  const Row& row = rows[r.row];
  const Birth* const b = birth(r.nonce);
  if (b == nullptr || r.version >= row.committed) return false;
  return std::any_of(row.losses.begin(), row.losses.end(), [&](const Loss& lost) {
    if (b->leased && lost.new_epoch) return false;
    return b->made <= lost.at && b->stored >= lost.at && row.committed_at[r.version + 1] <= lost.at;
  });
}

std::optional<std::string> Oracle::judge(const Reading& r) {
  ++reads;
  if (r.by_l1) ++by_l1;
  const Row& row = rows[r.row];
  char text[200];
  if (r.key != r.row || r.version < 1 || r.version > row.committed) {
    std::snprintf(text, sizeof text, "row %u answered with version %u of row %u, which was never written there", r.row, r.version,
                  r.key);
    return text;
  }
  const Nanos stale = r.version < row.acknowledged ? r.began - row.acknowledged_at[r.version + 1] : 0;
  const bool old = r.version < r.own;
  if (stale <= r.bound && !old) {
    if (stale > 0) ++within;
    return std::nullopt;
  }
  if (is_excused(r)) {
    ++excused;
    return std::nullopt;
  }
  std::snprintf(text, sizeof text,
                "row %u (%s) answered by %s with version %u: %s; %.3f ms beyond the successor's acknowledgement, %.3f ms allowed",
                r.row, std::string(name(row.way)).c_str(), r.by_l1 ? "L1" : "Redis or a loader", r.version,
                old ? ("older than version " + std::to_string(r.own) + ", which the caller had written or named").c_str()
                    : "stale beyond the budget",
                static_cast<double>(stale) / 1e6, static_cast<double>(r.bound) / 1e6);
  return text;
}

std::optional<std::string> Oracle::audit(const Reading& r) {
  const Row& row = rows[r.row];
  if (r.key == r.row && r.version == row.committed) return std::nullopt;
  if (row.unfinished || is_excused(r)) {
    ++excused;
    return std::nullopt;
  }
  char text[160];
  std::snprintf(text, sizeof text, "after all was quiet row %u (%s) is answered by %s with version %u, committed is %u", r.row,
                std::string(name(row.way)).c_str(), r.by_l1 ? "L1" : "Redis or a loader", r.version, row.committed);
  return text;
}

}  // namespace tiercache::sim
