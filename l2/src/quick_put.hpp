// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "scripts.hpp"

#include <string_view>

namespace tiercache::l2 {

/// The put that most puts are: without a version to compare, without tags, logged, in the epoch that the caller knows.
/// KEYS data lease seq epoch log; ARGV channel before+epoch after value [ttl], where `value` is the whole of what is stored.
/// -> the sequence | -1: not such a put, nothing was done. An error says the same or less: Scripts::put is right after any answer
/// but a sequence.
///
/// `most` stands in the text, as an argument that hardly any run looks at costs more than it tells; not "0".
[[nodiscard]] Script quick_put(std::string_view most);

}  // namespace tiercache::l2
