// SPDX-License-Identifier: Apache-2.0
//
// What is known of every row from outside of the product, and the judgement of what a read returned. Exact: virtual time is one
// clock for all, which no instance can read.
#pragma once

#include "scheduler.hpp"

#include <msgpack.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::sim {

/// How a row is written after it was committed; as in the chaos run, a row has one way for its whole life.
enum class Way : std::uint8_t {
  erase,      ///< erase(key) or erase_many, by anyone
  versioned,  ///< put(key, row, {.version}), by anyone: writers cross
  plain,      ///< put(key, row) or put_many, by its one owner; erase until ok where the put was not
  update,     ///< update(key, commit), by anyone
  buried,     ///< erase(key, {.version}), by anyone; loaders read a database replica that lags
};
inline constexpr std::size_t ways = 5;
[[nodiscard]] std::string_view name(Way way) noexcept;

/// What is cached. The nonce is new in each value that a loader or a writer made, and stands in the last bytes of what Redis
/// holds, so the servers can tell when it was stored.
struct Cell {
  std::uint32_t key = 0;
  std::uint32_t version = 0;
  std::string nonce;
  MSGPACK_DEFINE(key, version, nonce)
};
inline constexpr std::size_t nonce_bytes = 8;

/// Redis may have forgotten what it had been told.
struct Loss {
  Nanos at = 0;
  bool new_epoch = false;  ///< it is another run, or another server
};

struct Row {
  Way way = Way::erase;
  std::uint32_t committed = 1;
  std::vector<Nanos> committed_at{0, 0};  ///< by version
  std::vector<Nanos> acknowledged_at{};   ///< by version: when it, or a later one, was first acknowledged; never: not yet
  std::vector<Loss> losses{};             ///< of what Redis had been told of the row
  std::uint32_t acknowledged = 1;
  bool unfinished = false;  ///< a process died in the midst of an update that something else made ineffective
};

struct Reading {
  std::uint32_t row = 0;
  std::uint32_t version = 0;
  std::uint32_t key = 0;  ///< as the value itself says
  std::string_view nonce;
  Nanos began = 0;
  Nanos bound = 0;        ///< how old an answer of L1 may be: the budget, or what the call asked for
  std::uint32_t own = 0;  ///< the highest version that this process had been answered, or that a token names
  bool by_l1 = false;
  bool torn = false;  ///< Redis was two masters at some time since it began, and L1 was not asked
};

class Oracle {
 public:
  Oracle(Scheduler& scheduler, std::size_t count);

  std::vector<Row> rows;

  std::uint32_t commit(std::uint32_t row);
  void acknowledge(std::uint32_t row, std::uint32_t version);
  void lose(std::uint32_t row, bool new_epoch = false);
  void lose_all(bool new_epoch = false);
  /// What the database's replica answers: at most `lag` behind.
  [[nodiscard]] std::uint32_t lagging(std::uint32_t row, Nanos lag) const;
  /// `behind`: what it was made of is so old already.
  Cell make(std::uint32_t row, std::uint32_t version, Nanos behind = 0);
  /// As make(), by a loader.
  Cell load(std::uint32_t row, std::uint32_t version, Nanos behind);
  void stored(std::string_view bytes);

  /// Why it breaks the promise; nothing: it does not.
  std::optional<std::string> judge(const Reading& r);
  /// As judge(), of a read after which all was quiet for long: nothing but what was committed last will do.
  std::optional<std::string> audit(const Reading& r);

  std::uint64_t reads = 0, by_l1 = 0, within = 0, excused = 0, writes = 0;

 private:
  struct Birth {
    Nanos made = 0;
    Nanos stored = 0;
    bool leased = false;  ///< stored only under a lease, which was granted before it was made
  };
  [[nodiscard]] bool is_excused(const Reading& r) const;
  [[nodiscard]] const Birth* birth(std::string_view nonce) const;

  Scheduler& scheduler_;
  std::vector<Birth> births_;
};

}  // namespace tiercache::sim
