// SPDX-License-Identifier: Apache-2.0
#include "parser.hpp"

#include <new>
#include <string>
#include <utility>

namespace tiercache::l2 {

Parser::Parser(std::uint64_t max_bytes, std::uint32_t max_elements) : max_bytes_(max_bytes) {
  builder_.max_elements = max_elements;
  functions_.createString = &Parser::create_string;
  functions_.createArray = &Parser::create_array;
  functions_.createInteger = &Parser::create_integer;
  functions_.createNil = &Parser::create_nil;
  functions_.freeObject = [](void*) {};  // all objects live in builder_.root
  reader_.reset(redisReaderCreateWithFunctions(&functions_));
  if (!reader_) throw std::bad_alloc();
  reader_->privdata = &builder_;
}

Parser::~Parser() = default;

Result<void> Parser::feed(const char* bytes, std::size_t size) {
  pending_ += size;
  if (redisReaderFeed(reader_.get(), bytes, size) != REDIS_OK) return Error{Errc::bad_data, reader_->errstr};
  return {};
}

Result<std::optional<Reply>> Parser::next() {
  void* object = nullptr;
  if (redisReaderGetReply(reader_.get(), &object) != REDIS_OK) {
    return Error{Errc::bad_data, builder_.failure != nullptr ? builder_.failure : reader_->errstr};
  }
  // The reader buffers a bulk until it is whole, so bytes are counted here, not in create_string: else a declared length alone
  // would decide how much is held before the first object is made.
  const std::uint64_t rest = object != nullptr ? reader_->len - reader_->pos : 0;
  constexpr std::uint64_t framing = 64;  // "$<length>\r\n" and the like around a bulk of exactly max_bytes
  if (pending_ - rest > max_bytes_ + framing) return Error{Errc::bad_data, "a reply is over l2.max_reply_bytes"};
  if (object == nullptr) return std::optional<Reply>();
  pending_ = rest;
  builder_.elements = 0;
  return std::optional<Reply>(std::exchange(builder_.root, Reply{}));
}

// Elements are appended as they arrive, never reserved by the declared count. That moves elder siblings, to which nobody points
// any more: hiredis keeps pointers only to the arrays that are still open, and each of those is its parent's last element.
Reply* Parser::place(const redisReadTask* task, Reply::Type type) noexcept {
  auto* const builder = static_cast<Builder*>(task->privdata);
  try {
    Reply* reply = &builder->root;
    if (task->parent != nullptr) reply = &static_cast<Reply*>(task->parent->obj)->elements.emplace_back();
    reply->type = type;
    return reply;
  } catch (const std::bad_alloc&) {
    builder->failure = "no memory for a reply";
    return nullptr;
  }
}

void* Parser::create_string(const redisReadTask* task, char* text, std::size_t size) noexcept {
  const Reply::Type type = task->type == REDIS_REPLY_ERROR    ? Reply::Type::error
                           : task->type == REDIS_REPLY_STATUS ? Reply::Type::status
                                                              : Reply::Type::string;
  Reply* const reply = place(task, type);
  if (reply == nullptr) return nullptr;
  try {
    reply->text.assign(text, size);
  } catch (const std::bad_alloc&) {
    static_cast<Builder*>(task->privdata)->failure = "no memory for a reply";
    return nullptr;
  }
  return reply;
}

void* Parser::create_array(const redisReadTask* task, int elements) noexcept {
  auto* const builder = static_cast<Builder*>(task->privdata);
  if (elements < 0 || static_cast<std::uint32_t>(elements) > builder->max_elements - builder->elements) {
    builder->failure = "a reply is over l2.max_reply_elements";
    return nullptr;
  }
  builder->elements += static_cast<std::uint32_t>(elements);
  return place(task, Reply::Type::array);
}

void* Parser::create_integer(const redisReadTask* task, long long value) noexcept {
  Reply* const reply = place(task, Reply::Type::integer);
  if (reply != nullptr) reply->integer = value;
  return reply;
}

void* Parser::create_nil(const redisReadTask* task) noexcept { return place(task, Reply::Type::nil); }

}  // namespace tiercache::l2
