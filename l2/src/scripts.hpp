// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace tiercache::l2 {

/// A Lua script and the name that EVALSHA calls it by. Immutable, lives as long as the process.
struct Script {
  std::string text;
  std::string sha;
};

/// What runs inside Redis as one step. Every key a script touches is in KEYS; values and message parts are in ARGV.
///
/// Conventions of ARGV: `channel`; `before` and `after`: the bus message without its epoch and sequence, which stand between
/// the two; `candidate`: 8 random bytes, the epoch to set where none is; `ttl`: milliseconds, "0": none.
struct Scripts {
  Script put;            ///< KEYS data lease seq epoch; ARGV channel before after candidate head payload ttl version|""
                         ///< -> 1 | 0 superseded
  Script erase;          ///< KEYS data.. lease.. seq epoch; ARGV channel before after candidate -> data keys deleted
  Script announce;       ///< KEYS seq epoch; ARGV channel before after candidate -> {sequence, epoch}
  Script lease_get;      ///< KEYS data lease; ARGV token ms ignore("0"|"1") -> {value, pttl} | 1 granted | 0 held
  Script lease_fill;     ///< KEYS data lease epoch; ARGV token head payload ttl candidate check("0"|"1") -> 1 | 0
  Script lease_renew;    ///< KEYS lease; ARGV token ms -> 1 | 0
  Script lease_release;  ///< KEYS lease; ARGV token -> 1 | 0
  Script remove_if;      ///< KEYS data; ARGV bytes -> 1 | 0
  Script heartbeat;      ///< KEYS seq epoch run hb; ARGV channel before after candidate run_id ms beat -> sequence
  /// KEYS data.. lease.. seq epoch; ARGV channel before after candidate, then of each put: head payload ttl version|"" item;
  /// `after` ends before the count of items -> one for each put: 1 | 0 superseded | the text of the error that refused it
  Script put_many;
};

[[nodiscard]] const Scripts& scripts();

}  // namespace tiercache::l2
