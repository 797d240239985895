// SPDX-License-Identifier: Apache-2.0
#include "exchange.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace tiercache::l2 {

Result<std::vector<Reply>> Exchange::pipeline(std::size_t count) {
  const auto began = std::chrono::steady_clock::now();
  counters_.commands.fetch_add(count, std::memory_order_relaxed);
  auto flushed = connection_.flush(deadline_);
  sent_ = sent_ || connection_.bytes_sent();
  if (!flushed) return flushed.error();
  std::vector<Reply> replies;
  replies.reserve(count);
  std::optional<Error> refused;
  for (std::size_t i = 0; i < count; ++i) {
    auto reply = connection_.receive(deadline_);
    if (!reply) return reply.error();
    answered_ = true;
    if (reply->type == Reply::Type::error && !refused) refused = Error{Errc::refused, reply->text};
    replies.push_back(std::move(*reply));
  }
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began).count();
  counters_.latency.record_us(static_cast<std::uint64_t>(took));
  if (refused) return std::move(*refused);
  return replies;
}

Result<Reply> Exchange::call(std::span<const std::string_view> argv) {
  connection_.append(argv);
  auto replies = pipeline(1);
  if (!replies) return replies.error();
  return std::move(replies->front());
}

Result<Reply> Exchange::run(const Script& script, std::span<const std::string_view> keys,
                            std::span<const std::string_view> args) {
  const std::string count = std::to_string(keys.size());
  std::vector<std::string_view> argv = {"EVALSHA", script.sha, count};
  argv.reserve(argv.size() + keys.size() + args.size());
  argv.insert(argv.end(), keys.begin(), keys.end());
  argv.insert(argv.end(), args.begin(), args.end());
  const bool sent_before = sent_;
  auto reply = call(argv);
  if (reply || reply.error().code != Errc::refused || !reply.error().message.starts_with("NOSCRIPT")) return reply;
  sent_ = sent_before;
  counters_.script_loads.fetch_add(1, std::memory_order_relaxed);
  argv[0] = "EVAL";
  argv[1] = script.text;
  return call(argv);
}

}  // namespace tiercache::l2
