# ccache when it is there, never required. A launcher that the user named, or a project around ours, stays in charge.
if(PROJECT_IS_TOP_LEVEL AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(TIERCACHE_CCACHE ccache)
  mark_as_advanced(TIERCACHE_CCACHE)
  if(TIERCACHE_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${TIERCACHE_CCACHE}")
  endif()
endif()
