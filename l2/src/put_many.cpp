// SPDX-License-Identifier: Apache-2.0
//
// Many puts as one script: one number and one message for all of them, an answer for each.
#include "put_many.hpp"

#include "message.hpp"
#include "operations.hpp"
#include "scripts.hpp"

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/lab.hpp>

#include <string>
#include <utility>
#include <vector>

namespace tiercache::l2 {

Result<void> check_put_many(const RemoteRequest& request) {
  const auto bad = [](const char* what) { return Error{Errc::invalid_argument, what}; };
  if (request.puts.size() != request.keys.size()) return bad("put_many: as many values as keys are needed");
  std::size_t bytes = 42;
  for (std::size_t i = 0; i < request.keys.size(); ++i) {
    if (request.puts[i].head.size() != head_bytes) return bad("the envelope's head has not 48 bytes");
    if (request.puts[i].ttl_ms < 0) return bad("the time to live is negative");
    bytes += 10 + request.keys[i].size();
  }
  if (request.keys.size() > MessageParts::items_max || bytes > MessageParts::bytes_max)
    return Error{Errc::too_large, "one put_many takes at most 1024 keys and 1 MiB of them"};
  return {};
}

Result<void> Operations::put_many(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  const std::size_t count = request.keys.size();
  const MessageParts m(MessageParts::Kind::invalidate, request.shard, origin_, request.write_id);
  std::string texts;  // of numbers, versions and items; the arguments point into it once it has stopped growing
  struct Part {
    std::size_t at, size;
  };
  std::vector<Part> parts;
  parts.reserve(3 * count);
  const auto end_part = [&] {
    const std::size_t from = parts.empty() ? 0 : parts.back().at + parts.back().size;
    parts.push_back({from, texts.size() - from});
  };
  for (std::size_t i = 0; i < count; ++i) {
    const RemotePut& put = request.puts[i];
    texts += std::to_string(put.ttl_ms);
    end_part();
    if (put.if_newer && !lab::ablated(lab::Remedy::version_check)) append_be<8>(texts, put.version);
    end_part();
    append_be<2>(texts, request.keys[i].size());
    append_be<8>(texts, put.version);
    texts += request.keys[i];
    end_part();
  }
  std::vector<std::string_view> keys(request.keys.begin(), request.keys.end());
  keys.reserve(2 * count + 3);
  keys.insert(keys.end(), p.leases.begin(), p.leases.end());
  keys.insert(keys.end(), {p.names.seq, p.names.epoch, p.names.log});
  std::vector<std::string_view> args;
  args.reserve(5 + 5 * count);
  args.insert(args.end(), {p.names.channel, m.before, std::string_view(m.after).substr(0, MessageParts::count_at), p.candidate});
  for (std::size_t i = 0; i < count; ++i) {
    args.insert(args.end(), {request.puts[i].head, request.puts[i].payload});
    for (std::size_t part = 3 * i; part < 3 * i + 3; ++part)
      args.push_back(std::string_view(texts).substr(parts[part].at, parts[part].size));
  }
  args.push_back(log_entries_);
  auto r = x.run(scripts().put_many, keys, args);
  if (!r) return r.error();
  const Error nonsense{Errc::bad_data, "Redis gave an answer of another shape than the command has"};
  const bool announced = r->type != Reply::Type::array || r->elements.size() != 1;
  if (announced) {
    if (auto done = take_position(r, 3, x, reply); !done) return done;
  }
  std::vector<Reply>& answers = r->elements.back().elements;
  if (r->elements.back().type != Reply::Type::array || answers.size() != count) return nonsense;
  reply.puts.assign(count, std::nullopt);
  for (std::size_t i = 0; i < count; ++i) {
    Reply& one = answers[i];
    if (one.type == Reply::Type::string) reply.puts[i] = Error{Errc::refused, std::move(one.text)};
    else if (one.type != Reply::Type::integer || (one.integer != 0 && one.integer != 1)) return nonsense;
    else if (one.integer == 0) reply.puts[i] = Error{Errc::superseded, "the same or a newer version stands"};
  }
  reply.applied = true;
  return {};
}

}  // namespace tiercache::l2
