// Made from the dataclasses of serve/protocol.py by: python -m reverie.serve.schema
export const SCHEMA = {
 "client": {
  "start": {
   "type": "object",
   "properties": {
    "model": {
     "type": "string"
    },
    "task": {
     "type": "string"
    },
    "seed": {
     "anyOf": [
      {
       "type": "integer"
      },
      {
       "type": "null"
      }
     ]
    }
   },
   "required": [
    "model",
    "task"
   ],
   "additionalProperties": false
  },
  "act": {
   "type": "object",
   "properties": {
    "values": {
     "type": "array",
     "items": {
      "type": "number"
     }
    }
   },
   "required": [
    "values"
   ],
   "additionalProperties": false
  },
  "pause": {
   "type": "object",
   "properties": {
    "is_paused": {
     "type": "boolean"
    }
   },
   "required": [
    "is_paused"
   ],
   "additionalProperties": false
  },
  "step_once": {
   "type": "object",
   "properties": {},
   "required": [],
   "additionalProperties": false
  },
  "reset": {
   "type": "object",
   "properties": {
    "seed": {
     "anyOf": [
      {
       "type": "integer"
      },
      {
       "type": "null"
      }
     ]
    }
   },
   "required": [],
   "additionalProperties": false
  },
  "reseed": {
   "type": "object",
   "properties": {},
   "required": [],
   "additionalProperties": false
  },
  "set_rate": {
   "type": "object",
   "properties": {
    "rate_hz": {
     "type": "number"
    }
   },
   "required": [
    "rate_hz"
   ],
   "additionalProperties": false
  },
  "set_autopilot": {
   "type": "object",
   "properties": {
    "driver": {
     "enum": [
      "off",
      "random",
      "expert",
      "agent"
     ]
    }
   },
   "required": [
    "driver"
   ],
   "additionalProperties": false
  }
 },
 "server": {
  "welcome": {
   "type": "object",
   "properties": {
    "version": {
     "type": "string"
    },
    "models": {
     "type": "array",
     "items": {
      "type": "object",
      "properties": {
       "name": {
        "type": "string"
       },
       "height_px": {
        "type": "integer"
       },
       "width_px": {
        "type": "integer"
       },
       "max_context": {
        "type": "integer"
       },
       "num_flow_steps": {
        "type": "integer"
       },
       "tasks": {
        "type": "array",
        "items": {
         "type": "object",
         "properties": {
          "name": {
           "type": "string"
          },
          "domain": {
           "type": "string"
          },
          "instruction": {
           "type": "string"
          },
          "action_names": {
           "type": "array",
           "items": {
            "type": "string"
           }
          },
          "is_discrete": {
           "type": "boolean"
          },
          "max_steps": {
           "type": "integer"
          },
          "has_expert": {
           "type": "boolean"
          },
          "has_agent": {
           "type": "boolean"
          },
          "keys": {
           "type": "array",
           "items": {
            "type": "object",
            "properties": {
             "keys": {
              "type": "array",
              "items": {
               "type": "string"
              }
             },
             "lane": {
              "type": "integer"
             },
             "value": {
              "type": "number"
             },
             "label": {
              "type": "string"
             }
            },
            "required": [
             "keys",
             "lane",
             "value",
             "label"
            ],
            "additionalProperties": false
           }
          }
         },
         "required": [
          "name",
          "domain",
          "instruction",
          "action_names",
          "is_discrete",
          "max_steps",
          "has_expert",
          "has_agent",
          "keys"
         ],
         "additionalProperties": false
        }
       }
      },
      "required": [
       "name",
       "height_px",
       "width_px",
       "max_context",
       "num_flow_steps",
       "tasks"
      ],
      "additionalProperties": false
     }
    },
    "first_task": {
     "anyOf": [
      {
       "type": "string"
      },
      {
       "type": "null"
      }
     ]
    },
    "rate_hz": {
     "type": "number"
    },
    "min_rate_hz": {
     "type": "number"
    },
    "max_rate_hz": {
     "type": "number"
    }
   },
   "required": [
    "version",
    "models",
    "first_task",
    "rate_hz",
    "min_rate_hz",
    "max_rate_hz"
   ],
   "additionalProperties": false
  },
  "started": {
   "type": "object",
   "properties": {
    "model": {
     "type": "string"
    },
    "task": {
     "type": "string"
    },
    "seed": {
     "type": "integer"
    },
    "context_frames": {
     "type": "integer"
    },
    "thresholds": {
     "type": "array",
     "items": {
      "type": "object",
      "properties": {
       "name": {
        "type": "string"
       },
       "yellow": {
        "type": "number"
       },
       "red": {
        "type": "number"
       }
      },
      "required": [
       "name",
       "yellow",
       "red"
      ],
      "additionalProperties": false
     }
    }
   },
   "required": [
    "model",
    "task",
    "seed",
    "context_frames",
    "thresholds"
   ],
   "additionalProperties": false
  },
  "frame": {
   "type": "object",
   "properties": {
    "index": {
     "type": "integer"
    },
    "height_px": {
     "type": "integer"
    },
    "width_px": {
     "type": "integer"
    },
    "phase": {
     "enum": [
      "context",
      "dream"
     ]
    },
    "context_seen": {
     "type": "integer"
    },
    "episode": {
     "type": "integer"
    },
    "episode_step": {
     "type": "integer"
    },
    "horizon": {
     "type": "integer"
    },
    "action": {
     "type": "array",
     "items": {
      "type": "number"
     }
    },
    "driver": {
     "enum": [
      "off",
      "random",
      "expert",
      "agent"
     ]
    },
    "readings": {
     "type": "array",
     "items": {
      "type": "object",
      "properties": {
       "name": {
        "type": "string"
       },
       "raw": {
        "anyOf": [
         {
          "type": "number"
         },
         {
          "type": "null"
         }
        ]
       },
       "normalised": {
        "anyOf": [
         {
          "type": "number"
         },
         {
          "type": "null"
         }
        ]
       },
       "level": {
        "enum": [
         "green",
         "yellow",
         "red",
         "unknown"
        ]
       }
      },
      "required": [
       "name",
       "raw",
       "normalised",
       "level"
      ],
      "additionalProperties": false
     }
    },
    "level": {
     "enum": [
      "green",
      "yellow",
      "red",
      "unknown"
     ]
    },
    "outlook": {
     "anyOf": [
      {
       "type": "object",
       "properties": {
        "probability": {
         "anyOf": [
          {
           "type": "number"
          },
          {
           "type": "null"
          }
         ]
        },
        "held": {
         "anyOf": [
          {
           "type": "number"
          },
          {
           "type": "null"
          }
         ]
        },
        "threshold": {
         "anyOf": [
          {
           "type": "number"
          },
          {
           "type": "null"
          }
         ]
        },
        "ahead": {
         "type": "integer"
        },
        "flagged_at": {
         "anyOf": [
          {
           "type": "integer"
          },
          {
           "type": "null"
          }
         ]
        },
        "diverged_at": {
         "anyOf": [
          {
           "type": "integer"
          },
          {
           "type": "null"
          }
         ]
        },
        "lead": {
         "anyOf": [
          {
           "type": "integer"
          },
          {
           "type": "null"
          }
         ]
        }
       },
       "required": [
        "probability",
        "held",
        "threshold",
        "ahead",
        "flagged_at",
        "diverged_at",
        "lead"
       ],
       "additionalProperties": false
      },
      {
       "type": "null"
      }
     ]
    },
    "heat": {
     "anyOf": [
      {
       "type": "object",
       "properties": {
        "rows": {
         "type": "integer"
        },
        "columns": {
         "type": "integer"
        },
        "values": {
         "type": "array",
         "items": {
          "type": "integer"
         }
        }
       },
       "required": [
        "rows",
        "columns",
        "values"
       ],
       "additionalProperties": false
      },
      {
       "type": "null"
      }
     ]
    },
    "psnr_db": {
     "anyOf": [
      {
       "type": "number"
      },
      {
       "type": "null"
      }
     ]
    },
    "reward": {
     "type": "number"
    },
    "dreamed_reward": {
     "anyOf": [
      {
       "type": "number"
      },
      {
       "type": "null"
      }
     ]
    },
    "continues": {
     "anyOf": [
      {
       "type": "number"
      },
      {
       "type": "null"
      }
     ]
    },
    "score": {
     "anyOf": [
      {
       "type": "number"
      },
      {
       "type": "null"
      }
     ]
    },
    "shown_fps": {
     "anyOf": [
      {
       "type": "number"
      },
      {
       "type": "null"
      }
     ]
    },
    "dream_fps": {
     "anyOf": [
      {
       "type": "number"
      },
      {
       "type": "null"
      }
     ]
    },
    "simulator_fps": {
     "anyOf": [
      {
       "type": "number"
      },
      {
       "type": "null"
      }
     ]
    },
    "is_paused": {
     "type": "boolean"
    }
   },
   "required": [
    "index",
    "height_px",
    "width_px",
    "phase",
    "context_seen",
    "episode",
    "episode_step",
    "horizon",
    "action",
    "driver",
    "readings",
    "level",
    "outlook",
    "heat",
    "psnr_db",
    "reward",
    "dreamed_reward",
    "continues",
    "score",
    "shown_fps",
    "dream_fps",
    "simulator_fps",
    "is_paused"
   ],
   "additionalProperties": false
  },
  "notice": {
   "type": "object",
   "properties": {
    "text": {
     "type": "string"
    }
   },
   "required": [
    "text"
   ],
   "additionalProperties": false
  },
  "problem": {
   "type": "object",
   "properties": {
    "code": {
     "enum": [
      "message",
      "unknown",
      "busy",
      "idle",
      "rate",
      "size",
      "refused",
      "internal"
     ]
    },
    "text": {
     "type": "string"
    }
   },
   "required": [
    "code",
    "text"
   ],
   "additionalProperties": false
  }
 }
};
