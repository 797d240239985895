// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "scripts.hpp"

namespace tiercache::l2 {

/// Scripts of tags and members. Those that extend one of Scripts run it unchanged behind or within their own part; what is their
/// own comes last in KEYS and ARGV, is taken off there, and so depends on nothing that the extended script is given.
struct BulkScripts {
  Script put;         ///< put; KEYS .. set..; ARGV .. ttl tags -> as put
  Script lease_fill;  ///< lease_fill; KEYS .. set.. at.. epoch; ARGV .. stamp ttl tags -> as lease_fill, 0 too for an older stamp
  Script lease_get;   ///< lease_get; KEYS .. seq epoch -> as lease_get, but {1, stamp} for 1
  Script erase;       ///< erase; KEYS .. set; ARGV .. count -> as erase; the first `count` keys leave the set
  Script heartbeat;   ///< heartbeat; KEYS .. members; ARGV .. origin ms -> as heartbeat
  Script members;     ///< KEYS members epoch seq -> {epoch|"", age of the list in ms or -1, sequence, origin..}
};

[[nodiscard]] const BulkScripts& bulk_scripts();

}  // namespace tiercache::l2
