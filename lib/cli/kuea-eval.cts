#!/usr/bin/env node
import './pool.cjs';

void import('./kuea-eval-program.js');
