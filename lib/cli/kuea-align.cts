#!/usr/bin/env node
import './pool.cjs';

void import('./kuea-align-program.js');
