// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tiercache::sim {

/// An answer of Redis (RESP2).
struct Answer {
  enum class Type : std::uint8_t { nil, string, status, error, integer, array };
  Type type = Type::nil;
  std::int64_t integer = 0;
  std::string text{};
  std::vector<Answer> elements{};

  static Answer none() { return {}; }
  static Answer of(std::int64_t n) { return {Type::integer, n}; }
  static Answer string(std::string text) { return {Type::string, 0, std::move(text)}; }
  static Answer status(std::string text) { return {Type::status, 0, std::move(text)}; }
  static Answer error(std::string text) { return {Type::error, 0, std::move(text)}; }
  static Answer array(std::vector<Answer> elements) { return {Type::array, 0, {}, std::move(elements)}; }
  static Answer ok() { return status("OK"); }
  [[nodiscard]] bool is_error() const noexcept { return type == Type::error; }
};

inline void write_answer(std::string& out, const Answer& a) {
  switch (a.type) {
    case Answer::Type::nil: out += "$-1\r\n"; break;
    case Answer::Type::string:
      out.append("$").append(std::to_string(a.text.size())).append("\r\n").append(a.text).append("\r\n");
      break;
    case Answer::Type::status: out.append("+").append(a.text).append("\r\n"); break;
    case Answer::Type::error: out.append("-").append(a.text).append("\r\n"); break;
    case Answer::Type::integer: out.append(":").append(std::to_string(a.integer)).append("\r\n"); break;
    case Answer::Type::array:
      out.append("*").append(std::to_string(a.elements.size())).append("\r\n");
      for (const Answer& one : a.elements) write_answer(out, one);
      break;
  }
}

/// Takes one command off the front of `in`; nothing: it has not come whole. REQUIRES: what a client of ours sends, *N of $M.
inline std::optional<std::vector<std::string>> take_command(std::string& in) {
  std::size_t at = 0;
  const auto number = [&](char kind) -> std::optional<std::size_t> {
    const std::size_t end = in.find("\r\n", at);
    if (at >= in.size() || in[at] != kind || end == in.npos) return std::nullopt;
    std::size_t n = 0;
    std::from_chars(in.data() + at + 1, in.data() + end, n);
    at = end + 2;
    return n;
  };
  const auto count = number('*');
  if (!count) return std::nullopt;
  std::vector<std::string> argv;
  argv.reserve(*count);
  for (std::size_t i = 0; i < *count; ++i) {
    const auto size = number('$');
    if (!size || in.size() < at + *size + 2) return std::nullopt;
    argv.push_back(in.substr(at, *size));
    at += *size + 2;
  }
  in.erase(0, at);
  return argv;
}

}  // namespace tiercache::sim
