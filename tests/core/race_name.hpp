// SPDX-License-Identifier: Apache-2.0
//
// How the two runs of a race are named.
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace tiercache::testing {

inline std::string race_name(const ::testing::TestParamInfo<bool>& info) {
  return info.param ? "WithRemedyHolds" : "WithoutRemedyBreaks";
}

}  // namespace tiercache::testing
