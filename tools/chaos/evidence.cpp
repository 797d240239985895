// SPDX-License-Identifier: Apache-2.0
#include "evidence.hpp"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <fstream>
#include <iterator>
#include <string_view>

namespace tiercache::chaos {

std::uint64_t info_number(const std::string& text, const std::string& name) {
  const std::size_t at = text.find("\n" + name + ":");
  if (at == std::string::npos) return 0;
  const char* const first = text.data() + at + name.size() + 2;
  const char* const end = text.data() + text.size();
  constexpr std::string_view count = "count=";  // as errorstats have it
  std::uint64_t n = 0;
  std::from_chars(std::string_view(first, end).starts_with(count) ? first + count.size() : first, end, n);
  return n;
}

bool above_zero(const std::string& answer) noexcept {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(answer.data(), answer.data() + answer.size(), n);
  return error == std::errc{} && end == answer.data() + answer.size() && n != 0;
}

bool stands_still(pid_t pid) {
  if (pid <= 0) return false;
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::size_t at = text.rfind(") ");  // the name before it may hold anything
  return at != std::string::npos && at + 2 < text.size() && text[at + 2] == 'T';
}

bool is_gone(pid_t pid) noexcept { return pid > 0 && kill(pid, 0) != 0 && errno == ESRCH; }

}  // namespace tiercache::chaos
