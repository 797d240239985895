// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sha1.hpp"

#include <string>
#include <string_view>
#include <utility>

namespace tiercache::l2 {

/// A Lua script and the name that EVALSHA calls it by. Immutable, lives as long as the process.
struct Script {
  std::string text;
  std::string sha;
};
/// Of its parts, one behind the other.
template <class... Parts>
[[nodiscard]] Script script(const Parts&... parts) {
  std::string text;
  (text.append(parts), ...);
  std::string sha = sha1_hex(text);
  return {std::move(text), std::move(sha)};
}

/// What runs inside Redis as one step. Every key a script touches is in KEYS; values and message parts are in ARGV.
///
/// Conventions of ARGV: `channel`; `before` and `after`: the bus message without its epoch and sequence, which stand between
/// the two; `wake`: a whole message; `candidate`: 8 random bytes, the epoch to set where none is; `ttl`: milliseconds, "0": none;
/// `most`: how many announcements the log keeps, "0": this one is not logged.
struct Scripts {
  Script put;             ///< KEYS data lease seq epoch log; ARGV channel before after candidate head payload ttl version|""
                          ///< most -> {sequence, epoch} | 0 superseded
  Script erase;           ///< KEYS data.. lease.. seq epoch log; ARGV channel before after candidate most
                          ///< -> {sequence, epoch, data keys deleted}
  Script announce;        ///< KEYS seq epoch log; ARGV channel before after candidate most -> {sequence, epoch}
  Script lease_get;       ///< KEYS data lease gate; ARGV token ms ignore(head|"") -> {value, pttl} | 1 granted | 0 held | 2 gated
  Script lease_fill;      ///< KEYS data lease epoch; ARGV token head payload ttl candidate check("0"|"1") channel wake version|""
                          ///< -> 1 | 0
  Script lease_renew;     ///< KEYS lease; ARGV token ms -> 1 | 0
  Script lease_release;   ///< KEYS lease; ARGV token channel wake -> 1 | 0
  Script remove_if;       ///< KEYS data; ARGV bytes -> 1 | 0
  Script heartbeat;       ///< KEYS seq epoch run hb log; ARGV channel before after candidate run_id ms beat most -> sequence
  Script resync;          ///< KEYS log seq epoch run; ARGV epoch run_id from count bytes -> {last, message..} | {} not in the log
  Script exists;          ///< KEYS data.. -> how many are there and no tombstones
  Script erase_versions;  ///< KEYS data.. lease.. seq epoch log; ARGV channel before after candidate ttl heads most
                          ///< -> keys deleted
  Script gate;            ///< KEYS data lease gate seq epoch log; ARGV channel before after candidate token ms("0": lower it)
                          ///< tombstone head|"" its ttl most -> 1 | 0 it did not stand any more
  /// KEYS data.. lease.. seq epoch log; ARGV channel before after candidate, then of each put: head payload ttl version|"" item;
  /// most; `after` ends before the count of items -> {sequence, epoch, answers} | {answers} nothing was new; answers has one for
  /// each put: 1 | 0 superseded | the text of the error that refused it
  Script put_many;
};

[[nodiscard]] const Scripts& scripts();

}  // namespace tiercache::l2
