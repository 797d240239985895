// SPDX-License-Identifier: Apache-2.0
//
// How it is seen that a fault had its effect.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace tiercache::chaos {

/// The number behind "name:" in an answer to INFO; 0: none.
[[nodiscard]] std::uint64_t info_number(const std::string& text, const std::string& name);
/// Whether Redis's answer is an integer above 0.
[[nodiscard]] bool above_zero(const std::string& answer) noexcept;
/// Whether the process is stopped (SIGSTOP).
[[nodiscard]] bool stands_still(pid_t pid);
/// Whether there is no such process any more. It was one's own child, and was waited for.
[[nodiscard]] bool is_gone(pid_t pid) noexcept;

}  // namespace tiercache::chaos
