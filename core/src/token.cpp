// SPDX-License-Identifier: Apache-2.0
//
// Text form: "1" and for each position "-<shard>.<stream>.<sequence>", in lower-case hex without leading zeros.
#include <tiercache/core/token.hpp>

#include <algorithm>
#include <charconv>

namespace tiercache {
namespace {

constexpr std::size_t shards_max = 16384;

void append_hex(std::string& out, std::uint64_t n) {
  char digits[16];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, n, 16).ptr);
}

/// Takes a number up to `most` and the character `end` after it off `text`; the end of the text is an `end`, too.
bool take_hex(std::string_view& text, char end, std::uint64_t most, std::uint64_t& to) {
  const std::string_view digits = text.substr(0, text.find(end));
  const bool lower = std::all_of(digits.begin(), digits.end(), [](char c) { return c < 'A' || c > 'F'; });
  const auto [after, error] = std::from_chars(digits.data(), digits.data() + digits.size(), to, 16);
  if (error != std::errc() || after != digits.data() + digits.size() || !lower || to > most) return false;
  if (digits.size() > 1 && digits.front() == '0') return false;
  text.remove_prefix(std::min(digits.size() + 1, text.size()));
  return true;
}

}  // namespace

void WriteToken::merge(const WriteToken& later) {
  for (const Position& theirs : later.positions_) {
    const auto mine =
        std::find_if(positions_.begin(), positions_.end(), [&](const Position& p) { return p.shard == theirs.shard; });
    if (mine == positions_.end()) {
      positions_.push_back(theirs);
    } else if (mine->stream != theirs.stream) {
      *mine =
          theirs;  // an instance that follows the later stream has voided what it held of before, so it has the older write, too
    } else if (mine->sequence != 0) {
      mine->sequence = theirs.sequence == 0 ? 0 : std::max(mine->sequence, theirs.sequence);
    }
  }
}

std::string WriteToken::to_string() const {
  std::string text;
  if (positions_.empty()) return text;
  text = "1";
  for (const Position& p : positions_) {
    append_hex(text += '-', p.shard);
    append_hex(text += '.', p.stream);
    append_hex(text += '.', p.sequence);
  }
  return text;
}

Result<WriteToken> WriteToken::parse(std::string_view text) {
  const Error bad{Errc::invalid_argument, "token: not the text of a write token"};
  WriteToken token;
  if (text.empty()) return token;
  if (!text.starts_with("1-")) return bad;
  text.remove_prefix(2);
  do {
    std::uint64_t shard = 0;
    Position p;
    if (token.positions_.size() == shards_max) return bad;
    if (!take_hex(text, '.', shards_max - 1, shard) || !take_hex(text, '.', UINT64_MAX, p.stream) || p.stream == 0) return bad;
    const bool last = text.find('-') == std::string_view::npos;
    if ((!last && text.back() == '-') || !take_hex(text, '-', UINT64_MAX, p.sequence)) return bad;
    p.shard = static_cast<ShardId>(shard);
    token.positions_.push_back(p);
  } while (!text.empty());
  return token;
}

}  // namespace tiercache
