// SPDX-License-Identifier: Apache-2.0
//
// A program that uses the in-process table alone.
#include <tiercache/l1/table.hpp>

#include <cstdio>

int main() {
  using namespace tiercache::l1;
  Options options;
  options.capacity_bytes = 1 << 20;
  auto table = Table::create(options);
  if (!table) return std::fprintf(stderr, "consumer: %s\n", table.error().message.c_str()), 1;

  TypeOps ops;
  ops.size = sizeof(int);
  ops.align = alignof(int);
  ops.move_construct = [](void* to, void* from) noexcept { *static_cast<int*>(to) = *static_cast<int*>(from); };
  ops.destroy = [](void*) noexcept {};
  const auto view = (*table)->add_view(&ops);
  if (!view) return std::fprintf(stderr, "consumer: %s\n", view.error().message.c_str()), 1;

  int value = 42;
  const auto hash = (*table)->hash(*view, "answer");
  if ((*table)->put(*view, "answer", hash, &value, EntryMeta{}) != PutStatus::stored) {
    return std::fprintf(stderr, "consumer: the value is not stored\n"), 1;
  }
  const Pin pin = (*table)->find(*view, "answer", hash, 0, tiercache::coarse_now_ms());
  if (!pin || *static_cast<const int*>(pin.value()) != 42) return std::fprintf(stderr, "consumer: no hit\n"), 1;
  return 0;
}
