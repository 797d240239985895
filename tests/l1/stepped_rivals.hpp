// SPDX-License-Identifier: Apache-2.0
//
// What others do while a victim is held: a new operation is one line here, and one in stepped_operations.hpp.
#pragma once

#include "stepped_scene.hpp"

namespace tiercache::l1::test {

inline const RivalOperation rival_operations[] = {
    {"find", false, false, [](Scene& s, std::uint64_t) { static_cast<void>(s.look(0) + s.look(1)); }},
    {"visit", false, false, [](Scene& s, std::uint64_t) { static_cast<void>(s.visited(0) + s.visited(1)); }},
    {"pin, duplicate, release", false, false,
     [](Scene& s, std::uint64_t) {
       Pin found = s.t.find(s.keys[0]);
       const Pin second = found.duplicate();
       found.reset();
       if (second) s.read(second, 0);
     }},
    {"put", true, true, [](Scene& s, std::uint64_t version) { operations::put_and_look(s, 0, version); }},
    {"put of the bucket's other keys", true, true,
     [](Scene& s, std::uint64_t version) {
       for (std::size_t k = 1; k < s.keys.size(); ++k) operations::put_and_look(s, k, version);
     }},
    {"put that evicts", true, false,
     [](Scene& s, std::uint64_t) {
       for (unsigned n = 0; n < 4; ++n) operations::must(s, s.put_load() == PutStatus::stored, "an evicting put was refused");
     }},
    {"fill", true, false,
     [](Scene& s, std::uint64_t version) {
       // Refused once, where it met an install half done; that it helps to its end.
       PutStatus status = s.fill(s.t.ticket(s.keys[0]), 0, version);
       if (status == PutStatus::fenced) status = s.fill(s.t.ticket(s.keys[0]), 0, version);
       operations::must(s, status != PutStatus::fenced, "a fill was refused twice though nobody invalidated its ticket");
       operations::must(s, status != PutStatus::no_room && status != PutStatus::too_large, "a fill found no room");
       if (status != PutStatus::stored) return;
       const std::uint64_t now = s.look(0);
       operations::must(s, now == 0 || now == version, "another value after a fill");
     }},
    {"fill that is fenced", true, true,
     [](Scene& s, std::uint64_t version) {
       const Ticket ticket = s.t.ticket(s.keys[0]);
       s.t.erase(s.keys[0]);
       operations::must(s, s.fill(ticket, 0, version) == PutStatus::fenced, "an outdated fill was let in");
     }},
    {"erase", true, true,
     [](Scene& s, std::uint64_t) {
       s.t.erase(s.keys[0]);
       operations::must(s, s.look(0) == 0, "a value after an erase");
     }},
    {"erase and put", true, true,
     [](Scene& s, std::uint64_t version) {
       s.t.erase(s.keys[0]);
       operations::put_and_look(s, 0, version);
     }},
    {"find many", false, false, [](Scene& s, std::uint64_t) { static_cast<void>(s.look_at_many()); }},
    {"put if absent, put if present", true, true,
     [](Scene& s, std::uint64_t version) {
       const PutStatus absent = s.put_when(When::absent, 0, version);
       operations::must(s, absent == PutStatus::stored || absent == PutStatus::unmatched, "a put if absent was refused");
       const PutStatus present = s.put_when(When::present, 0, version);
       operations::must(s, present == PutStatus::stored || present == PutStatus::unmatched, "a put if present was refused");
       const std::uint64_t now = s.look(0);
       operations::must(s, now == 0 || present != PutStatus::stored || now == version, "another value after a put if present");
     }},
    {"compare and swap", true, true,
     [](Scene& s, std::uint64_t version) {
       Pin found = s.t.find(s.keys[0]);
       PutStatus status = s.swap(found, 0, version);
       if (status == PutStatus::unmatched) {
         // The find overtook an install half done; the swap helped that to its end.
         found = s.t.find(s.keys[0]);
         status = s.swap(found, 0, version);
       }
       operations::must(s, status == PutStatus::stored, "nobody stored meanwhile, but a swap did not match twice");
       if (status != PutStatus::stored) return;
       const std::uint64_t now = s.look(0);
       operations::must(s, now == 0 || now == version, "another value after a swap");
       operations::must(s, !found || s.swap(found, 0, version) == PutStatus::unmatched, "a swap with an entry that was replaced");
     }},
    {"expire", true, false,
     [](Scene& s, std::uint64_t) {
       const bool found = s.expire(0, fake_now_ms);  // at once
       operations::must(s, s.look(0) == 0, found ? "a value after it expired" : "a value that could not be given an expiry");
     }},
    {"evict", true, false,
     [](Scene& s, std::uint64_t) {
       s.evict(0);
       operations::must(s, s.look(0) == 0, "a value after its eviction");
     }},
    {"put with an idle ttl, hit and idle out", true, true,
     [](Scene& s, std::uint64_t version) {
       operations::must(s, s.put_idle(0, version) == PutStatus::stored, "a put was refused");
       const std::uint64_t now = s.look_later(0, 1000);
       operations::must(s, now == 0 || now == version, "another value after a put");
       operations::must(s, s.look_later(0, 2 * Scene::idle_ttl_ms) == 0, "found what idled too long");
     }},
    {"resize down and up", true, false,
     [](Scene& s, std::uint64_t) {
       operations::must(s, s.shrink_and_grow(s.t.table->stats().fixed_bytes * 2), "a size in range was refused");
     }},
    {"drain", false, false, [](Scene& s, std::uint64_t) { s.t.table->drain(); }},
    {"stats, ticket, counts", false, false,
     [](Scene& s, std::uint64_t) {
       static_cast<void>(s.t.ticket(s.keys[0]));
       s.t.table->count_miss(s.counted);
     }},
};

}  // namespace tiercache::l1::test
