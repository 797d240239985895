// SPDX-License-Identifier: Apache-2.0
//
// The one header most users need: Config, Store, Cache<V>, Handle<V>, codecs, byte units.
#pragma once

#include <tiercache/base/units.hpp>
#include <tiercache/core/cache.hpp>
#include <tiercache/core/codec.hpp>
#include <tiercache/core/config.hpp>
#include <tiercache/core/handle.hpp>
#include <tiercache/core/store.hpp>

namespace tiercache {
using namespace tiercache::literals;  // 256_MiB
}
